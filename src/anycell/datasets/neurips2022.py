"""The data of the NeurIPS 2022 Cell Segmentation Challenge (Zenodo 10719375).

    OUT/archives/*.zip                        as downloaded; may be deleted afterwards
    OUT/labeled/cells_0001_0100/images|labels         1,000 images, in blocks of 100 numbers
    OUT/tuning/images|labels                          tuning set
    OUT/testing/public|public_wsi/images|labels       test set, and its slides
    OUT/testing/hidden/images                         without labels
    OUT/unlabeled/images     OUT/slides/images
    OUT/manifest.csv                          what ``train`` and ``evaluate`` read
    OUT/left_out.csv                          images that cannot be read, and why

The archives name no experiment, so a group is a block of file numbers, no more.  Ma et
al. 2024, doi:10.1038/s41592-024-02233-6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anycell.datasets.fetch import PATIENT, Patience, Progress, Record, Remote, fetch
from anycell.datasets.listing import Listing, write_manifest
from anycell.datasets.unpack import check_room, list_members, unpack
from anycell.errors import FormatError, InputError, unknown_name
from anycell.files.damage import replacing
from anycell.files.source import file_stem

__all__ = ["LICENSE", "PARTS", "RECORD", "ZENODO", "Plan", "Step", "plan", "prepare"]

ZENODO = "https://zenodo.org/api"
RECORD = 10719375
LICENSE = "CC BY-NC-ND 4.0: name the authors, no commercial use, do not share changed versions"
BLOCK = 100
DONE = "unpacked.json"
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LABELS = (".tif", ".tiff", ".png")


@dataclass(frozen=True)
class Part:
    """One archive: its name in the record, whether it has labels, and what it is for."""

    archive: str
    labeled: bool
    use: str


PARTS: dict[str, Part] = {
    "labeled": Part("Training-labeled.zip", True, "train"),
    "tuning": Part("Tuning.zip", True, "validate"),
    "testing": Part("Testing.zip", True, "test"),
    "unlabeled": Part("train-unlabeled-part1.zip", False, "unlabeled"),
    "slides": Part("train-unlabeled-part2.zip", False, "unlabeled"),
}
"""Name -> part; the name is that of its folder too."""


@dataclass(frozen=True)
class Step:
    """What is to be done for one part.

    Attributes
    ----------
    part : its name in ``PARTS``.
    archive : where the archive lies or will lie.
    remote : the file to fetch; None offline.
    to_fetch : bytes that are still missing.
    done : it was unpacked before, from this very archive.
    """

    part: str
    archive: Path
    remote: Remote | None
    to_fetch: int
    done: bool


@dataclass(frozen=True)
class Plan:
    """Everything that ``prepare`` will do."""

    out: Path
    steps: tuple[Step, ...]

    @property
    def to_fetch(self) -> int:
        """Bytes to download."""
        return sum(step.to_fetch for step in self.steps if not step.done)


def plan(out: Path, parts: Sequence[str], record: Record | None) -> Plan:
    """See what has to be fetched and unpacked.

    Parameters
    ----------
    record : None offline: archives must lie in ``out/archives``, and are taken as they are.

    Raises
    ------
    SettingError : an unknown part.
    InputError : the record has no such archive, or offline it is not there.
    """
    for name in parts:
        if name not in PARTS:
            raise unknown_name("part", name, PARTS)
    before = _unpacked(out)
    return Plan(out, tuple(_step(out, name, record, before) for name in dict.fromkeys(parts)))


def prepare(
    planned: Plan, progress: Progress | None = None, patience: Patience = PATIENT
) -> Listing:
    """Fetch, check, unpack, and write the manifest of everything that is there.

    Raises
    ------
    InputError, FormatError : a download fails, or an archive is not what it should be.
    OutputError : the disk is full, or closed to this user.
    """
    steps = [step for step in planned.steps if not step.done]
    packed = sum(step.remote.size if step.remote else 0 for step in steps)
    if steps:
        # What the archives become is known when they are here; images hardly shrink.
        check_room(planned.out, planned.to_fetch + packed, "downloading and unpacking")
    for step in steps:
        if step.remote is not None:
            fetch(step.remote, step.archive, progress, patience)
        places = placed(step.archive, step.part, planned.out)
        unpack(step.archive, places, progress)
        _note_unpacked(planned.out, step)
    return write_manifest(planned.out, {name: part.use for name, part in PARTS.items()}, progress)


def placed(archive: Path, part: str, out: Path) -> dict[str, Path]:
    """Choose the members of an archive that are data, and where each one goes.

    Image folders are found wherever they are: ``images`` with ``labels`` beside it, or
    ``WSI`` with ``WSI-labels``; without labels one is taken if it is called ``images``.
    In an unlabeled part every image counts.  Everything else, such as predictions of the
    winning team, is passed over.

    Raises
    ------
    FormatError : nothing of the kind is there, or two members want the same place.
    """
    names = [member.filename for member in list_members(archive)]
    names = [name for name in names if not _is_clutter(PurePosixPath(name))]
    folders = {str(PurePosixPath(name).parent) for name in names}
    places: dict[str, Path] = {}
    for name in names:
        place = _place(PurePosixPath(name), part, folders, archive.stem)
        if place is not None:
            places[name] = out / part / place
    images = [path for path in places.values() if path.parent.name == "images"]
    if not images or (PARTS[part].labeled and len(images) == len(places)):
        raise FormatError(
            f"{archive} has {len(names)} files in {', '.join(sorted(folders)) or 'no folder'}",
            expected="folders called images and labels"
            if PARTS[part].labeled
            else f"images ({' '.join(IMAGES)})",
            hint="whether this is the archive meant; it may have been made anew",
        )
    if len(set(places.values())) != len(places):
        raise FormatError(f"{archive} holds two files of one name for the same place")
    return places


def _place(
    member: PurePosixPath, part: str, folders: Iterable[str], stem: str
) -> PurePosixPath | None:
    """Where a member goes, below its part's folder; None to pass it over."""
    kind = member.suffix.lower()
    if not PARTS[part].labeled:
        return PurePosixPath("images", member.name) if kind in IMAGES else None
    below = list(member.parent.parts)
    while below and below[0].lower() == stem.lower():
        del below[0]
    folder = member.parent.name.lower()
    beside = {PurePosixPath(v).name.lower() for v in folders if _beside(v, member.parent)}
    if folder.endswith("labels"):
        of = folder.removesuffix("labels").rstrip("-_") or "images"
        if of not in beside or kind not in LABELS:
            return None
        below[-1:] = [] if of == "images" else [of]
        return PurePosixPath(_group(part, below, member.name), "labels", member.name)
    named = folder == "images"
    theirs = {"labels"} if named else {f"{folder}-labels", f"{folder}_labels", f"{folder}labels"}
    if kind not in IMAGES or not (named or beside & theirs):
        return None
    below = below[:-1] if named else below
    return PurePosixPath(_group(part, below, member.name), "images", member.name)


def _beside(folder: str, other: PurePosixPath) -> bool:
    return PurePosixPath(folder).parent == other.parent


def _group(part: str, below: Sequence[str], name: str) -> PurePosixPath:
    """The folder of a group: blocks of numbers for the labeled part, else as in the archive."""
    inside = "_".join(word.lower() for word in below)
    if part != "labeled":
        return PurePosixPath(inside)
    numbers = re.findall(r"\d+", file_stem(Path(name)))
    if not numbers:
        return PurePosixPath(inside or "other")
    first = (max(1, int(numbers[-1])) - 1) // BLOCK * BLOCK + 1
    return PurePosixPath(inside, f"cells_{first:04}_{first + BLOCK - 1:04}")


def _is_clutter(member: PurePosixPath) -> bool:
    """What packing programs leave behind."""
    return member.parts[0] == "__MACOSX" or member.name.startswith(".")


def _step(out: Path, name: str, record: Record | None, before: dict[str, str]) -> Step:
    archive = out / "archives" / PARTS[name].archive
    if record is None:
        done = archive.name in before
        if not (done or archive.is_file()):
            raise InputError(
                f"{archive} is not there",
                expected="the archive, downloaded from https://zenodo.org/records/10719375",
                hint="without --offline it is downloaded",
            )
        return Step(name, archive, None, 0, done)
    if archive.name not in record.files:
        raise InputError(
            f"the record has no {archive.name}, but {', '.join(sorted(record.files)) or 'nothing'}",
            expected=f"record {RECORD} of Zenodo",
            hint="another address after --url",
        )
    remote = record.files[archive.name]
    part = archive.with_name(archive.name + ".part")
    have = next((v.stat().st_size for v in (archive, part) if v.is_file()), 0)
    done = before.get(archive.name) == remote.digest
    return Step(name, archive, remote, 0 if done else max(0, remote.size - have), done)


def _unpacked(out: Path) -> dict[str, str]:
    """Archives that were unpacked in full, with their checksums."""
    note = out / DONE
    if not note.is_file():
        return {}
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in found.items()}
    except (ValueError, AttributeError) as error:
        raise FormatError(
            f"{note} is damaged: {error}", expected="JSON", hint=f"rm {note}, to unpack again"
        ) from error


def _note_unpacked(out: Path, step: Step) -> None:
    known = _unpacked(out)
    known[step.archive.name] = step.remote.digest if step.remote else ""
    with replacing(out / DONE) as draft:
        draft.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
