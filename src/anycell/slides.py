"""Slides: labels written to disk as they come, never whole in memory, never done twice.

    tiles -> read, outputs, decode -> journal          as quick as the workers are
                                        -> canvas: claim, in the order of the tiles
                                              -> labels on disk -> TIFF or OME-Zarr

The journal (``anycell.journal``) lies beside the output, in a folder of the output's name
that ends in ``.parts``, until the output is there.  A run that was broken off goes on from
it.  With shards, several processes, on several machines, each do a share of the tiles,
and ``merge`` makes the claims.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import AnycellError, InputError, OutputError, SettingError
from anycell.files.damage import writing
from anycell.files.label_store import LabelStore
from anycell.grid import place_of, tile_of
from anycell.journal import GO_ON, Journals, journals_in, packed, read_plan, unpacked
from anycell.labels import Labels
from anycell.model import identity
from anycell.road import Road
from anycell.seams import Canvas

__all__ = [
    "FORMATS",
    "PARTS",
    "Compute",
    "Going",
    "Shard",
    "Target",
    "Written",
    "find_parts",
    "merge",
    "write_slide",
]

FORMATS = {"tiff": ".tiff", "ome-zarr": ".zarr"}
"""Format -> ending of the labels' name."""
PARTS = ".parts"
WHOLE = "tiles.journal"


@dataclass(frozen=True)
class Shard:
    """A share of the tiles: every ``count``-th one, from number ``index - 1``.

    Attributes
    ----------
    index : 1 .. count.
    count : into how many shares the tiles are divided.
    """

    index: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """Read ``2/8``.

        Raises
        ------
        SettingError : not a shard.
        """
        first, _, second = text.partition("/")
        if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
            raise SettingError(
                f"shard {text!r}", expected="i/n with i from 1 to n", hint="--shard 1/4"
            )
        return cls(int(first), int(second))

    @property
    def file(self) -> str:
        """The name of its journal."""
        return f"tiles-{self.index}-of-{self.count}.journal"

    @property
    def run_file(self) -> str:
        """The name of what tells how it was made."""
        return f"run-{self.index}-of-{self.count}.json"

    def numbers(self, tiles: int) -> range:
        """The tiles that are its own."""
        return range(self.index - 1, tiles, self.count)


@dataclass(frozen=True)
class Written:
    """What became of a slide.

    Attributes
    ----------
    path : of the labels; None when only a shard was done.
    cells : how many there are; None for a shard.
    confidence : 0 .. 1, element i - 1 belongs to cell i; empty for a shard.
    tiles : of the whole image.
    computed : tiles that were done now; the others were in the journal.
    seconds : by stage, as in ``Segmentation``.
    """

    path: Path | None
    cells: int | None
    confidence: NDArray[np.float32]
    tiles: int
    computed: int
    seconds: dict[str, float]


@dataclass(frozen=True)
class Target:
    """Where the labels of one image go.

    Attributes
    ----------
    path : ends in ``.tiff`` or ``.zarr``, which decides the format.
    name : of the image.
    pixel_size : micrometres per pixel; None when it is not known.
    """

    path: Path
    name: str = "image"
    pixel_size: float | None = None

    @property
    def parts(self) -> Path:
        """The folder of what is not finished."""
        return self.path.with_suffix(PARTS)


Compute = Callable[[Road, Sequence[int]], Iterator[tuple[int, bytes]]]
"""Computes tiles somewhere else; gives their packed results in any order."""


@dataclass(frozen=True)
class Going:
    """How a run begins and who does it.

    Attributes
    ----------
    resume : go on from what is there; None refuses if there is something, False
        throws it away.
    shard : only a share of the tiles, and no claims.
    compute : who computes; threads of this process if None.
    workers : how many threads; one per core if None.
    """

    resume: bool | None = None
    shard: Shard | None = None
    compute: Compute | None = None
    workers: int | None = None


def write_slide(
    road: Road,
    target: Target,
    going: Going | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Find the cells of all tiles and write the labels; see the module's docstring.

    Parameters
    ----------
    road : of the image, from ``anycell.road.prepare``.
    target : its folder must exist.
    progress : called with (tiles done, tiles in all) after each tile.

    Raises
    ------
    OutputError : something is left of another run, or the disk is full or closed.
    InputError : the image cannot be read any more.  What was done is kept in both cases.
    """
    going = going or Going()
    _clear(target, going)
    own = WHOLE if going.shard is None else going.shard.file
    with Journals(target.parts, _plan(road, target), own) as results:
        try:
            return _written(road, target, going, results, progress or _silent)
        except AnycellError as error:
            kept = f"{len(results)} of {len(road.tiles)} tiles are kept: go on with --resume"
            hint = "; ".join(part for part in (error.hint, kept) if part and part != GO_ON)
            raise type(error)(error.found, expected=error.expected, hint=hint) from error


def _written(
    road: Road,
    target: Target,
    going: Going,
    results: Journals,
    progress: Callable[[int, int], None],
) -> Written:
    numbers = range(len(road.tiles))
    share = numbers if going.shard is None else going.shard.numbers(len(numbers))
    fresh = [number for number in share if number not in results]
    claims = None if going.shard is not None else _Claims(target, road.image.shape[1:], results)
    steps = _computed(road, fresh, going, results)
    before = len(share) - len(fresh)
    for done in _counted(steps, before):
        progress(done, len(share))
        if claims is not None:
            with road.watch.stage("seams"):
                claims.go_on()
    seconds = road.watch.seconds
    none = np.zeros(0, dtype=np.float32)
    if claims is None:
        return Written(None, None, none, len(numbers), len(fresh), seconds)
    with road.watch.stage("seams"):
        claims.go_on()
        claims.finish(len(numbers))
    results.close()
    shutil.rmtree(target.parts)
    confidence = claims.canvas.confidence
    return Written(target.path, len(confidence), confidence, len(numbers), len(fresh), seconds)


def merge(parts: Path, progress: Callable[[int, int], None] | None = None) -> Written:
    """Claim the tiles that shards have done, write the labels, and remove the parts.

    Raises
    ------
    OutputError : tiles are missing, or the shards were not made with the same settings.
    """
    began = perf_counter()
    journals = journals_in(parts)
    if not journals:
        raise OutputError(f"{parts} holds no journal", expected="what --shard leaves")
    plan = read_plan(journals[0])
    count, (height, width) = plan["tiles"], plan["image"]["size"]
    target = Target(parts.with_name(plan["output"]), plan["image"]["name"], plan["pixel size"])
    with Journals(parts, plan, None) as results:
        missing = [number for number in range(count) if number not in results]
        if missing:
            raise _incomplete(parts, journals, missing, count)
        claims = _Claims(target, (height, width), results)
        while claims.go_on(1):
            (progress or _silent)(claims.next, count)
        claims.finish(count)
    shutil.rmtree(parts)
    confidence = claims.canvas.confidence
    seconds = {"total": perf_counter() - began}
    return Written(target.path, len(confidence), confidence, count, 0, seconds)


class _Claims:
    """Claims tiles in order, as far as their results are there."""

    def __init__(self, target: Target, shape: tuple[int, ...], results: Journals) -> None:
        self.target = target
        self.next = 0
        self._results = results
        folder = target.parts / "labels"
        with writing(folder):
            if folder.exists():
                shutil.rmtree(folder)
        self._store = LabelStore(folder, shape[0], shape[1])
        self.canvas = Canvas(self._store)

    def go_on(self, most: int | None = None) -> int:
        """Claim up to ``most`` tiles; how many there were."""
        first = self.next
        while self.next in self._results and (most is None or self.next < first + most):
            labels, confidence, place = unpacked(self._results.get(self.next))
            self.canvas.claim(tile_of(place), labels, confidence)
            self.next += 1
        return self.next - first

    def finish(self, tiles: int) -> None:
        """Write the labels where they belong, once all ``tiles`` are claimed."""
        if self.next != tiles:
            raise RuntimeError(f"tile {self.next} of {tiles} was never computed")
        if self.target.path.suffix == FORMATS["ome-zarr"]:
            self._store.to_ome_zarr(self.target.path, self.target.name, self.target.pixel_size)
        else:
            self._store.to_tiff(self.target.path, self.canvas.cells)


def _computed(
    road: Road, numbers: Sequence[int], going: Going, results: Journals
) -> Generator[None]:
    """Compute tiles and note them in the journal, one step for each."""
    if going.compute is not None:
        for number, payload in going.compute(road, numbers):
            results.put(number, payload)
            yield
        return

    def keep(number: int, labels: Labels, confidence: NDArray[np.float32]) -> None:
        results.put(number, packed(labels, confidence, place_of(road.tiles[number])))

    yield from road.done(numbers, keep, going.workers)


def _counted(steps: Generator[None], start: int) -> Iterator[int]:
    """Count the steps; when the caller stops early the steps are closed at once."""
    with closing(steps):
        yield start
        for done, _ in enumerate(steps, start + 1):
            yield done


def _plan(road: Road, target: Target) -> dict[str, Any]:
    """Everything that the results depend on, in the types of JSON."""
    from anycell import __version__

    _, height, width = road.image.shape
    places = json.dumps([place_of(tile) for tile in road.tiles]).encode()
    lines = (road.normalization.low, road.normalization.high)
    return {
        "anycell": __version__,
        "image": {
            "name": target.name,
            "size": [height, width],
            "channels": list(road.image.channels),
            "samples": str(road.image.dtype),
            "pixels": road.digest,
        },
        "normalization": [[float(v) for v in line] for line in lines],
        "levels": [[str(zoom), level] for zoom, level in sorted(road.levels.items())],
        "model": " ".join([*identity(road.predictor).values(), str(road.predictor.representation)]),
        "zoom": road.zoom,
        "least confidence": road.min_confidence,
        "tiles": len(road.tiles),
        "grid": hashlib.sha256(places).hexdigest()[:16],
        "output": target.path.name,
        "pixel size": target.pixel_size,
    }


def find_parts(folder: Path) -> list[Path]:
    """The folders of unfinished labels in a folder and those below it, sorted.

    Raises
    ------
    InputError : there is none.
    """
    found = sorted(path for path in folder.rglob(f"*{PARTS}") if journals_in(path))
    if not found:
        raise InputError(
            f"nothing to merge in {folder}",
            expected="the folder that anycell segment --shard i/n -o wrote to",
        )
    return found


def _clear(target: Target, going: Going) -> None:
    """See to what another run has left; a shard looks at its own journal only."""
    parts = target.parts
    left = journals_in(parts)
    if going.shard is not None:
        left = [path for path in left if path.name == going.shard.file]
    if going.resume is None and left:
        raise OutputError(
            f"{left[0]} was left by a run that was broken off",
            expected="a decision what becomes of it",
            hint="--resume to go on from there, --restart to begin anew",
        )
    with writing(parts):
        for path in left if going.resume is False else []:
            path.unlink()
        for draft in target.path.parent.glob(f".{target.path.name}.*.part"):
            draft.unlink()


def _incomplete(
    parts: Path, journals: Sequence[Path], missing: Sequence[int], count: int
) -> OutputError:
    """Say which shards have not done their tiles."""
    found = [re.fullmatch(r"tiles-(\d+)-of-(\d+)", path.stem) for path in journals]
    counts = {int(match[2]) for match in found if match}
    hint = "the command that it was begun with and --resume"
    if len(counts) == 1:
        shards = [Shard(i, n) for n in counts for i in range(1, n + 1)]
        late = [s for s in shards if not set(s.numbers(count)).isdisjoint(missing)]
        todo = ", ".join(f"--shard {s.index}/{s.count}" for s in late)
        hint = f"{todo}, with --resume where it was begun"
    return OutputError(
        f"{parts}: {len(missing)} of {count} tiles are missing",
        expected="all shards done",
        hint=hint,
    )


def _silent(done: int, total: int) -> None:
    """Nobody watches."""
