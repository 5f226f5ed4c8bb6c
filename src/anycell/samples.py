"""Samples: the images, labels and groups of a folder of training data.

A folder is read in one of two layouts:

    DATA/manifest.csv               columns use, group, image, labels, modality, labeled
    DATA/[GROUP/]images/NAME.*      with [GROUP/]labels/NAME.* beside it, any subset

``use`` is train, validate or unlabeled.  Without a manifest every ``HELD_OUT``-th group
is held out for validation, or every ``HELD_OUT``-th image when there is only one group.
A group is what must never straddle a split: one source, experiment or movie.
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from anycell.errors import InputError
from anycell.files import find_images

__all__ = ["HELD_OUT", "USES", "Sample", "find_samples", "group_shares"]

HELD_OUT = 5
USES = ("train", "validate", "unlabeled")


@dataclass(frozen=True)
class Sample:
    """One image of a data folder.

    Attributes
    ----------
    image, labels : paths; ``labels`` is None for an unlabeled image.
    group : source, experiment or movie.
    use : train, validate or unlabeled.
    modality : as the manifest says, or empty.
    partial : True when only some of the cells are labeled, so that background far from
        the labeled ones is not known to be background.
    cells : how many cells are labeled, where the manifest says so.
    """

    image: Path
    labels: Path | None
    group: str
    use: str
    modality: str = ""
    partial: bool = False
    cells: int = 1


def find_samples(data: Path) -> tuple[Sample, ...]:
    """List the samples of a folder, in a fixed order.

    Raises
    ------
    InputError : no such folder, no samples, or a manifest that names a missing file.
    """
    if not data.is_dir():
        raise InputError(f"{data} is not a folder", expected="a folder of training data")
    manifest = data / "manifest.csv"
    samples = _from_manifest(manifest) if manifest.is_file() else _from_folders(data)
    if not samples:
        raise InputError(
            f"no samples in {data}",
            expected="a manifest.csv, or images/ with labels/ beside it",
        )
    return samples


def group_shares(samples: tuple[Sample, ...]) -> dict[str, float]:
    """How often to draw from each group: (images x cells) ** (1/8), summing to 1.

    Between equal shares and shares by size, so that a group of one image is heard and
    a group of hundreds does not drown the rest.
    """
    images = Counter(s.group for s in samples)
    cells: Counter[str] = Counter()
    for sample in samples:
        cells[sample.group] += max(1, sample.cells)
    raw = {g: float(images[g] * cells[g]) ** 0.125 for g in sorted(images)}
    total = sum(raw.values())
    return {g: share / total for g, share in raw.items()}


def _from_manifest(manifest: Path) -> tuple[Sample, ...]:
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    needed = {"use", "group", "image", "labels"}
    if rows and not needed <= set(rows[0]):
        raise InputError(
            f"{manifest} has the columns {', '.join(rows[0])}",
            expected=f"at least {', '.join(sorted(needed))}",
        )
    return tuple(_row_sample(row, manifest) for row in rows if row["use"] in USES)


def _row_sample(row: dict[str, str], manifest: Path) -> Sample:
    root = manifest.parent
    image = root / row["image"]
    labels = root / row["labels"] if row["labels"] else None
    for path in (image, labels):
        if path is not None and not path.exists():
            raise InputError(f"{manifest} names {path}, which does not exist")
    return Sample(
        image=image,
        labels=labels,
        group=row["group"],
        use=row["use"],
        modality=row.get("modality") or "",
        partial="only" in (row.get("labeled") or ""),
        cells=int(row.get("cells") or 1),
    )


def _from_folders(data: Path) -> tuple[Sample, ...]:
    folders = sorted(p for p in data.rglob("images") if p.is_dir())
    if (data / "images").is_dir():
        folders = [data / "images"]
    found: list[Sample] = []
    for folder in folders:
        group = folder.parent.relative_to(data).as_posix()
        group = data.name if group == "." else group
        beside = folder.parent / "labels"
        labels = {p.name.split(".")[0]: p for p in beside.iterdir()} if beside.is_dir() else {}
        for image in find_images(folder):
            stem = image.name.split(".")[0]
            path = labels.get(stem, labels.get(f"{stem}_label"))
            found.append(Sample(image, path, group, "train" if path else "unlabeled"))
    return _hold_out(found)


def _hold_out(found: list[Sample]) -> tuple[Sample, ...]:
    labeled = [s for s in found if s.labels is not None]
    groups = sorted({s.group for s in labeled})
    if len(groups) > 1:
        held = set(groups[HELD_OUT - 1 :: HELD_OUT] or groups[-1:])
        chosen = {s.image for s in labeled if s.group in held}
    else:
        chosen = {s.image for s in labeled[HELD_OUT - 1 :: HELD_OUT] or labeled[1:][-1:]}
    return tuple(
        s if s.image not in chosen else Sample(s.image, s.labels, s.group, "validate")
        for s in found
    )
