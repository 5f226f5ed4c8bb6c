"""Samples: the images, labels and groups of a folder of training data.

A folder is read in one of these layouts:

    DATA/manifest.csv               columns use, group, image, labels, modality, labeled, ignore
    DATA/[GROUP/]images/NAME.*      with [GROUP/]labels/NAME.* beside it, any subset
    DATA/[GROUP/]NAME/images/NAME.* with [GROUP/]NAME/masks/*.png, one for each cell
    DATA/[GROUP/]ignore/NAME.*      pixels that are not 0 are left out of training
    DATA/[GROUP/]points.csv         columns image, x, y: a point in each of some cells

``use`` is train, validate or unlabeled.  ``labeled`` says ``... only`` where just some cells
are labeled, and ``points: FILE`` where a file beside images/ has points.  Without a
manifest every ``HELD_OUT``-th group is held out for validation, or every ``HELD_OUT``-th
image when there is only one group.  A group is what must never straddle a split: one
source, experiment or movie.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from anycell.errors import InputError, SettingError, unknown_name
from anycell.files import find_images
from anycell.files.cell_masks import MASKS, masked_image
from anycell.files.places import LABEL_ENDINGS, is_label_file, label_name
from anycell.points import read_points

__all__ = [
    "HELD_OUT",
    "USES",
    "Sample",
    "find_samples",
    "group_shares",
    "share_labels",
    "without_groups",
]

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
    points : a table with places of some of its cells; None when there is none.
    ignore : an image that is not 0 where the labels are not known; None when there is none.
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
    points: Path | None = None
    ignore: Path | None = None

    @property
    def teaches(self) -> bool:
        """Whether a training may learn from it: it has labels or points, and is not held out."""
        return self.use != "validate" and (self.labels is not None or self.points is not None)


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
            expected="a manifest.csv, or GROUP/images, with GROUP/labels beside it if known",
            hint=f"move the images to {data / 'GROUP' / 'images'}" if find_images(data) else "",
        )
    return samples


def group_shares(
    samples: tuple[Sample, ...], factors: Mapping[str, float] | None = None
) -> dict[str, float]:
    """How often to draw from each group: (images x cells) ** (1/8), summing to 1.

    Between equal shares and shares by size, so that a group of one image is heard and
    a group of hundreds does not drown the rest.  ``factors`` raise or lower some of them.

    Raises
    ------
    SettingError : no such group, or a factor that is not above 0.
    """
    images = Counter(s.group for s in samples)
    cells: Counter[str] = Counter()
    for sample in samples:
        cells[sample.group] += max(1, sample.cells)
    raw = {g: float(images[g] * cells[g]) ** 0.125 for g in sorted(images)}
    for group, factor in (factors or {}).items():
        if group not in raw:
            raise unknown_name("group", group, sorted(raw))
        if not 0.0 < factor < math.inf:
            raise SettingError(f"{group} drawn {factor:g} times as often", expected="above 0")
        raw[group] *= factor
    total = sum(raw.values())
    return {g: share / total for g, share in raw.items()}


def without_groups(samples: tuple[Sample, ...], groups: Sequence[str]) -> tuple[Sample, ...]:
    """Leave some groups out.

    Raises
    ------
    SettingError : no such group.
    """
    known = sorted({s.group for s in samples})
    for group in groups:
        if group not in known:
            raise unknown_name("group", group, known)
    return tuple(s for s in samples if s.group not in groups)


def share_labels(samples: tuple[Sample, ...], share: float, seed: int) -> tuple[Sample, ...]:
    """Keep the labels of a share of the training images of each group, at least of one.

    The others become unlabeled.  A smaller share keeps a subset of what a larger one keeps.

    Raises
    ------
    SettingError : a share outside 0 .. 1, or 0.
    """
    if not 0.0 < share <= 1.0:
        raise SettingError(f"a share of {share:g} of the labels", expected="above 0, up to 1")
    members: defaultdict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        if sample.use == "train" and sample.labels is not None:
            members[sample.group].append(index)
    out = list(samples)
    for group, indices in sorted(members.items()):
        order = np.random.default_rng([seed, *group.encode()]).permutation(len(indices))
        for k in order[max(1, round(share * len(indices))) :]:
            index = indices[k]
            out[index] = replace(out[index], labels=None, ignore=None, use="unlabeled")
    return tuple(out)


def _from_manifest(manifest: Path) -> tuple[Sample, ...]:
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    needed = {"use", "group", "image", "labels"}
    if rows and not needed <= set(rows[0]):
        raise InputError(
            f"{manifest} has the columns {', '.join(rows[0])}",
            expected=f"at least {', '.join(sorted(needed))}",
        )
    return _with_points([_row_sample(row, manifest) for row in rows if row["use"] in USES])


def _with_points(samples: list[Sample]) -> tuple[Sample, ...]:
    """Leave points to the images that have some."""
    tables = {path: set(read_points(path)) for path in {s.points for s in samples} if path}
    return tuple(
        replace(s, points=None) if s.points and s.image.stem not in tables[s.points] else s
        for s in samples
    )


def _row_sample(row: dict[str, str], manifest: Path) -> Sample:
    root = manifest.parent
    image = root / row["image"]
    labels = root / row["labels"] if row["labels"] else None
    ignore = root / row["ignore"] if row.get("ignore") else None
    kind, _, table = (row.get("labeled") or "").partition("points:")
    points = image.parent.parent / table.strip() if table else None
    for path in (image, labels, ignore, points):
        if path is not None and not path.exists():
            raise InputError(f"{manifest} names {path}, which does not exist")
    return Sample(
        image=image,
        labels=labels,
        group=row["group"],
        use=row["use"],
        modality=row.get("modality") or "",
        partial="only" in kind,
        cells=int(row.get("cells") or 1),
        points=points,
        ignore=ignore,
    )


def _from_folders(data: Path) -> tuple[Sample, ...]:
    folders = sorted(p for p in data.rglob("images") if p.is_dir())
    if (data / "images").is_dir():
        folders = [data / "images"]
    found: list[Sample] = []
    for folder in folders:
        if masked_image(folder):
            found.append(_masked(folder, data))
            continue
        group = folder.parent.relative_to(data).as_posix()
        group = data.name if group == "." else group
        labels = _labels_by_name(folder.parent / "labels")
        ignore = _by_name(folder.parent / "ignore")
        table = folder.parent / "points.csv"
        points = table if table.is_file() else None
        for image in find_images(folder):
            stem = image.name.split(".")[0]
            path = labels.get(stem)
            use = "train" if path else "unlabeled"
            leave = ignore.get(stem) if path else None
            found.append(Sample(image, path, group, use, points=points, ignore=leave))
    return _hold_out(list(_with_points(found)))


def _masked(folder: Path, data: Path) -> Sample:
    """An image that has a folder of its own, with one mask for each cell."""
    images = find_images(folder)
    if len(images) != 1:
        raise InputError(
            f"{folder} holds {len(images)} images, and {MASKS}/ lies beside it",
            expected="one image for a folder of masks",
        )
    above = folder.parent.parent
    group = above.relative_to(data).as_posix() if above != data.parent else "."
    name = data.name if group == "." else group
    return Sample(images[0], folder.parent / MASKS, name, "train")


def _labels_by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not (is_label_file(path) or (path.is_dir() and path.suffix == ".zarr")):
            continue
        other = found.setdefault(label_name(path), path)
        if other != path:
            raise InputError(
                f"{other} and {path} are both labels of {label_name(path)!r}",
                expected=f"one of them, ending in {' '.join(LABEL_ENDINGS)} or .zarr",
            )
    return found


def _by_name(folder: Path) -> dict[str, Path]:
    return {p.name.split(".")[0]: p for p in folder.iterdir()} if folder.is_dir() else {}


def _hold_out(found: list[Sample]) -> tuple[Sample, ...]:
    labeled = [s for s in found if s.labels is not None]
    groups = sorted({s.group for s in labeled})
    if len(groups) > 1:
        held = set(groups[HELD_OUT - 1 :: HELD_OUT] or groups[-1:])
        chosen = {s.image for s in labeled if s.group in held}
    else:
        chosen = {s.image for s in labeled[HELD_OUT - 1 :: HELD_OUT] or labeled[1:][-1:]}
    return tuple(
        s if s.image not in chosen else replace(s, use="validate", points=None) for s in found
    )
