"""Pairing: which predicted file belongs to which file of true labels.

The truth says which images there are; it may be

    labels.../                 a folder of label files
    group/labels/<name>.png    a folder with ``labels`` in it, itself one group
    any/.../group/labels/      a folder of such groups, at any depth
    any/.../group/<name>/masks a folder of masks of single cells, beside images/
    manifest.csv               columns group, labels and, if there, image, use, modality;
                               paths are relative to the manifest

and the prediction of each is looked for under its name, which is the file's name up to
its first dot, without ``_label``:

    pred/<group>/<name>_label.tiff      or flat:      pred/<name>_label.tiff

also with the other endings of ``SUFFIXES``, one ``labels`` folder deeper, and as plain
``<name>.tiff`` where no ``_label`` file is there.  Whatever could be meant for two images,
or two files for one image, is an error: nothing is guessed.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from anycell.errors import FormatError, InputError, SettingError
from anycell.files.cell_masks import MASKS
from anycell.files.places import LABEL_ENDINGS, find_images, is_label_file, label_name

__all__ = ["SUFFIXES", "Pair", "Truth", "find_truths", "pair_files", "unused_files"]

SUFFIXES: tuple[str, ...] = LABEL_ENDINGS
"""Endings of label files, in capitals too."""


@dataclass(frozen=True)
class Truth:
    """One image to be judged.

    Attributes
    ----------
    group : the source it comes from.
    name : of the image, up to its first dot.
    file : its true labels.
    modality : as the manifest says; empty when unknown.
    """

    group: str
    name: str
    file: Path
    modality: str = ""


Pair = tuple[Truth, Path | None]
"""An image and the file of its prediction, None when there is none."""


def find_truths(source: Path, use: str | None = None) -> list[Truth]:
    """List the images of a folder of labels or of a manifest, by group and name.

    Parameters
    ----------
    use : which rows of a manifest, by its column ``use``; it must be given when there
        are several uses, so that training images are never judged by accident.

    Raises
    ------
    InputError : nothing there, no label files, or two files of one name in a group.
    SettingError : ``use`` is missing, unknown, or given without a manifest.
    """
    found = _from_manifest(source, use) if source.is_file() else _from_folder(source, use)
    if not found:
        raise InputError(
            f"{source} has no label files",
            expected=f"files ending in {' '.join(SUFFIXES)}, or folders called labels",
        )
    found.sort(key=lambda v: (v.group, v.name, str(v.file)))
    for one, other in pairwise(found):
        if (one.group, one.name) == (other.group, other.name):
            raise InputError(
                f"{one.file} and {other.file} are both called {one.name!r}",
                expected="one file for each name up to the first dot, in each group",
            )
    return found


def pair_files(predictions: Path, truths: Sequence[Truth]) -> list[Pair]:
    """Find the prediction of each image in a folder, in the order of ``truths``.

    Raises
    ------
    InputError : no folder, no prediction at all, or one that could mean two images.
    """
    if not predictions.is_dir():
        raise InputError(f"{predictions} is not a folder", expected="a folder of predictions")
    flat = _index(predictions)
    nested = {group: _index(predictions / group) for group in {one.group for one in truths}}
    times = Counter(one.name for one in truths)
    pairs: list[Pair] = []
    for one in truths:
        here, own = flat.get(one.name), nested[one.group].get(one.name)
        if here is not None and (times[one.name] > 1 or own is not None):
            groups = [v.group for v in truths if v.name == one.name]
            raise InputError(
                f"{here} could be {one.name!r} of {' or '.join(groups)}; found too: {own}",
                expected="each prediction in a folder called like its group, and only there",
                hint=f"mkdir -p {predictions / one.group}; mv {here} {predictions / one.group}",
            )
        pairs.append((one, own or here))
    if all(file is None for _, file in pairs):
        raise InputError(
            f"{predictions} has no prediction for any of {len(pairs)} images",
            expected=f"files such as {predictions / truths[0].name}_label.tiff",
        )
    return pairs


def unused_files(predictions: Path, pairs: Sequence[Pair]) -> tuple[Path, ...]:
    """Files called ``*_label.*`` below a folder that are in none of the pairs."""
    used = {file for _, file in pairs}
    files = _label_files(predictions.rglob("*_label.*"))
    return tuple(file for file in files if file not in used)


def _name(file: str | Path) -> str:
    return label_name(file)


def _label_files(files: Iterable[Path]) -> list[Path]:
    return sorted(v for v in files if is_label_file(v))


def _from_folder(folder: Path, use: str | None) -> list[Truth]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not there", expected="a folder of labels or a manifest.csv")
    if use is not None:
        raise SettingError(
            f"use {use!r} with the folder {folder}",
            expected="a manifest.csv with a column use",
            hint=str(folder / use) if (folder / use).is_dir() else "",
        )
    below = (v for v in folder.rglob("labels") if all(u.suffix != ".zarr" for u in v.parents))
    places = [folder] if folder.name == "labels" else sorted(below)
    groups = {place: _group(place, folder) for place in places if place.is_dir()}
    masks = _masked(folder)
    if masks and not groups:
        return masks
    return masks + [
        Truth(group, _name(file), file)
        for place, group in (groups or {folder: folder.resolve().name}).items()
        for file in _preferred(_label_files(place.iterdir()))
    ]


def _masked(folder: Path) -> list[Truth]:
    """Images that have a folder of their own, with one mask for each cell."""
    found = []
    for place in sorted(folder.rglob(MASKS)):
        images = place.parent / "images"
        if not images.is_dir():
            continue
        above = place.parent.parent
        inside = above != folder and folder in above.parents
        group = above.relative_to(folder).as_posix() if inside else above.resolve().name
        names = [label_name(image) for image in find_images(images)]
        found += [Truth(group, name, place) for name in names]
    return found


def _group(place: Path, folder: Path) -> str:
    """Name the group whose labels lie in ``place``, as seen from ``folder``."""
    if place in (folder, folder / "labels"):
        return place.resolve().parent.name
    return place.parent.relative_to(folder).as_posix()


def _from_manifest(manifest: Path, use: str | None) -> list[Truth]:
    if manifest.suffix.lower() != ".csv":
        raise InputError(
            f"{manifest} is a single file", expected="a folder of labels or a manifest.csv"
        )
    rows = [row for row in _rows(manifest) if row["labels"]]
    uses = sorted({row.get("use", "") for row in rows})
    if (use is None and len(uses) > 1) or (use is not None and use not in uses):
        raise SettingError(
            f"use {use!r} of {manifest}",
            expected=f"one of {', '.join(uses)}",
            hint=f"--use {uses[-1]}" if uses else "",
        )
    return [
        Truth(
            row["group"],
            _name(row.get("image") or row["labels"]),
            manifest.parent / row["labels"],
            row.get("modality", ""),
        )
        for row in rows
        if use is None or row["use"] == use
    ]


def _rows(manifest: Path) -> list[dict[str, str]]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as stream:
            table = list(csv.reader(stream, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{manifest}: {error}", expected="a table in CSV, UTF-8") from error
    columns = table[0] if table else []
    if not {"group", "labels"} <= set(columns):
        raise InputError(
            f"{manifest} has columns {', '.join(columns)}", expected="group, labels among them"
        )
    for line, values in enumerate(table[1:], start=2):
        if len(values) != len(columns) or not values[columns.index("group")]:
            raise InputError(
                f"{manifest}, row {line}: {','.join(values)}",
                expected=f"{len(columns)} values, the group not empty",
            )
    return [dict(zip(columns, values, strict=True)) for values in table[1:]]


def _index(folder: Path) -> dict[str, Path]:
    """The predictions in a folder, by name; ``_label`` files go before plain ones."""
    places = [place for place in (folder, folder / "labels") if place.is_dir()]
    files = _label_files(file for place in places for file in place.iterdir())
    return _by_name(_preferred(files))


def _preferred(files: list[Path]) -> list[Path]:
    """Leave out what only says again what a ``_label`` file beside it says: exports."""
    marked = {_name(v) for v in files if _is_marked(v)}
    return [v for v in files if _is_marked(v) or _name(v) not in marked]


def _is_marked(file: Path) -> bool:
    return file.name.partition(".")[0].endswith("_label")


def _by_name(files: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        other = found.setdefault(_name(file), file)
        if other != file:
            raise InputError(
                f"{other} and {file} are both predictions of {_name(file)!r}",
                expected="one prediction for each image",
            )
    return found
