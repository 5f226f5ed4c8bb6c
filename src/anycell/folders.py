"""Segments many files: how, what came out of each, and which failed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from anycell.crew import TooLargeError, side_by_side
from anycell.errors import AnycellError, InputError, OutputError, SettingError, unknown_name
from anycell.exports import draw_overlay, export_paths, write_exports
from anycell.files import Opening, open_labels, write_labels
from anycell.image import Image, Region
from anycell.labels import Plane
from anycell.levels import told
from anycell.measure import measure
from anycell.model import identity
from anycell.road import Asked, prepare
from anycell.runs import (
    RUN_FILE,
    Clock,
    check_made,
    cores,
    earlier_entries,
    make_folder,
    write_run,
)
from anycell.scale import ZoomPlan
from anycell.segment import common_plan, segment
from anycell.slides import FORMATS, Compute, Going, Shard, Target, write_slide
from anycell.tasks import Task

if TYPE_CHECKING:
    from anycell.predictor import Predictor

__all__ = ["FileResult", "FolderSettings", "Watch", "segment_files"]

SLIDE_PIXELS = 25_000_000
"""Larger images are slides: their labels go to disk tile by tile, and can be resumed."""


NOT_LABELS = ("overlay", "exports", "skip_existing", "resume", "shard", "format")
"""Settings that labels do not depend on."""

SMALL_PIXELS = 1_500_000  # up to here images are segmented several at a time


@dataclass(frozen=True)
class FolderSettings:
    """How every file is read and segmented; a wrong one is a SettingError.

    Attributes
    ----------
    channels, axes, level : as ``open_image`` takes them.
    region : only this part of the level, as an image of its own.
    zoom : network pixels per pixel of the file; None to find it for each image.
    diameter : of a typical cell, in pixels of the file; decides the zoom instead.
    diameter_um : the same in micrometres; the pixel size makes it pixels.
    pixel_size : micrometres per pixel; None for what each file says.
    same_scale : one zoom for all files, found on some of them.
    min_confidence : cells below it are left out; None for the model's own limit.
    overlay : also write the outlines drawn over the image, as PNG.
    exports : further formats to write, as named in ``anycell.exports``.
    skip_existing : leave files alone whose results are there already.
    resume : the same, and go on with slides that were broken off; False begins those
        anew, None refuses to touch them.
    format : ``tiff`` or ``ome-zarr``; None for TIFF.
    shard : only a share of the tiles of every image; ``anycell.slides.merge`` does the rest.
    """

    channels: str | None = None
    axes: str | None = None
    level: int = 0
    region: Region | None = None
    zoom: float | None = None
    diameter: float | None = None
    diameter_um: float | None = None
    pixel_size: float | None = None
    same_scale: bool = False
    min_confidence: float | None = None
    overlay: bool = False
    exports: tuple[str, ...] = ()
    skip_existing: bool = False
    resume: bool | None = None
    format: str | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before any image is read."""
        self._check_scale()
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise SettingError(f"least confidence {self.min_confidence:g}", expected="0 .. 1")
        if self.format is not None and self.format not in FORMATS:
            raise unknown_name("format", self.format, FORMATS)
        if self.shard is not None and (self.overlay or self.exports):
            what = "an overlay" if self.overlay else "exports"
            raise SettingError(
                f"{what} of a shard",
                expected="one of them",
                hint="anycell merge, then anycell convert --image IMAGE",
            )

    def _check_scale(self) -> None:
        sizes = {
            "zoom": self.zoom,
            "diameter": self.diameter,
            "diameter in micrometres": self.diameter_um,
        }
        for name, number in (*sizes.items(), ("pixel size", self.pixel_size)):
            if number is not None and not 0 < number < float("inf"):
                raise SettingError(f"{name} {number:g}", expected="a number above 0")
        given = [f"a {k} of {v:g}" for k, v in sizes.items() if v is not None]
        given += ["the same scale for all files"] if self.same_scale else []
        if len(given) > 1:
            raise SettingError(
                f"both {' and '.join(given)}",
                expected="one of them: each decides the zoom",
                hint="leave one out",
            )

    def zoom_for(self, model: Predictor, image: Image) -> float | None:
        """The zoom that brings the cells to the size that a model knows; None to find it.

        Raises
        ------
        InputError : the diameter is in micrometres, and nobody says how large a pixel is.
        """
        pixels = self.diameter
        if self.diameter_um is not None:
            if image.pixel_size is None:
                raise InputError(
                    f"{image.name} does not say how large its pixels are",
                    expected=f"a pixel size, to make pixels of {self.diameter_um:g} um",
                    hint="--pixel-size 0.5, in um; or --diameter in pixels",
                )
            pixels = self.diameter_um / image.pixel_size
        if pixels is None:
            return self.zoom
        return 1.0 if model.diameter is None else model.diameter / pixels

    def is_slide(self, image: Image) -> bool:
        """Whether the labels of an image go to disk tile by tile."""
        _, height, width = image.shape
        asked = self.shard is not None or self.format is not None
        return asked or height * width > SLIDE_PIXELS

    def place(self, task: Task) -> Path:
        """Where the labels of a task go, the ending being that of the format."""
        return task.labels.with_suffix(FORMATS[self.format or "tiff"])

    def opening(self, task: Task) -> Opening:
        """How the image of a task is opened."""
        place = (task.image, self.channels, self.axes, self.level, self.region)
        return Opening(*place, pixel_size=self.pixel_size)


@dataclass(frozen=True)
class FileResult:
    """What became of one file; ``plan`` is None where a zoom or diameter was given.

    Where all files have one scale, each has the plan of all.  ``levels`` are those of
    ``Segmentation``.
    """

    image: Path
    labels: Path
    status: Literal["done", "skipped", "failed", "shard"]
    cells: int | None = None
    zoom: float | None = None
    plan: ZoomPlan | None = None
    levels: tuple[tuple[float, float], ...] = ()
    seconds: float = 0.0
    error: AnycellError | None = None

    def entry(self) -> dict[str, Any]:
        """The result as plain values for JSON; None where there is nothing to say."""
        return {
            "image": str(self.image),
            "labels": None if self.status == "failed" else str(self.labels),
            "status": self.status,
            "cells": self.cells,
            "zoom": self.zoom,
            "plan": self.plan.entry() if self.plan else None,
            **({"levels": [[round(z, 4), v] for z, v in self.levels]} if self.levels else {}),
            "seconds": round(self.seconds, 3),
            "error": str(self.error) if self.error else None,
        }


class Watch(Protocol):
    """Who wants to know how far it has come."""

    def tile(self, task: Task, done: int, total: int) -> None:
        """``done`` of ``total`` tiles of the task's image are segmented."""

    def file(self, result: FileResult) -> None:
        """One file is dealt with."""


def segment_files(
    tasks: Sequence[Task],
    out: Path,
    model: Predictor,
    settings: FolderSettings,
    watch: Watch | None = None,
    compute: Callable[[Opening], Compute] | None = None,
) -> list[FileResult]:
    """Segment every task's image, write its labels, and ``run.json`` into ``out``.

    A file that cannot be read or segmented is noted and the next one is taken.  What
    was done is noted in ``run.json`` even when the run is broken off; by a shard, in
    ``run-2-of-8.json``.  What runs before noted of labels that this one leaves alone is kept.

    Parameters
    ----------
    compute : gives what computes the tiles of an image elsewhere (``anycell.cluster``).

    Raises
    ------
    OutputError : results cannot be written; the other files would not do better.
    """
    clock = Clock()
    results: list[FileResult] = []
    named = identity(model)
    name = RUN_FILE if settings.shard is None else settings.shard.run_file
    before = earlier_entries(out, name)
    plan, given = None, settings
    if settings.same_scale:
        plan = common_plan([settings.opening(task) for task in tasks], model)
        given = replace(settings, zoom=plan.zoom, same_scale=False)
    try:
        for found in _each(tasks, model, given, watch, compute):
            shared = plan is not None and found.zoom is not None
            result = replace(found, plan=plan) if shared else found
            if result.status == "skipped" and settings.resume and result.labels in before:
                result = _checked(result, settings, before[result.labels]["made"], named)
            results.append(result)
            if watch is not None:
                watch.file(result)
    finally:
        entries = [result.entry() for result in results]
        written = {result.labels for result in results if result.status == "done"}
        write_run(
            out,
            clock,
            settings=asdict(settings),
            model=named,
            results=entries,
            name=name,
            earlier=[entry for place, entry in before.items() if place not in written],
        )
    return results


def _checked(
    skipped: FileResult, settings: FolderSettings, made: Mapping[str, Any], model: Mapping[str, str]
) -> FileResult:
    """The same result, or a failed one where the labels are not those asked for."""
    now = {k: v for k, v in asdict(settings).items() if k not in NOT_LABELS}
    try:
        check_made(skipped.labels, made, now, model)
    except InputError as error:
        return replace(skipped, status="failed", error=error)
    return skipped


def _each(
    tasks: Sequence[Task],
    model: Predictor,
    settings: FolderSettings,
    watch: Watch | None,
    compute: Callable[[Opening], Compute] | None,
) -> Generator[FileResult]:
    """Segment the tasks' images in order, small ones side by side, each on one core."""
    large = partial(_segment_file, model=model, settings=settings, watch=watch, compute=compute)
    small = partial(_segment_file, settings=settings, watch=None, compute=None, alone=True)
    count = 1 if compute is not None else min(cores(), len(tasks))
    together = side_by_side(tasks, model.split(count), small, large) if count > 1 else None
    yield from together or map(large, tasks)


def _segment_file(
    task: Task,
    model: Predictor,
    settings: FolderSettings,
    watch: Watch | None,
    compute: Callable[[Opening], Compute] | None,
    alone: bool = False,
) -> FileResult:
    place = settings.place(task)
    exports = export_paths(task.labels.parent, task.name, settings.exports)
    wanted = [place, *exports, *([task.overlay] if settings.overlay else [])]
    skip = settings.skip_existing or bool(settings.resume)
    if skip and all(path.exists() for path in wanted):
        return FileResult(task.image, place, "skipped")
    began = time.perf_counter()

    def progress(done: int, total: int) -> None:
        if watch is not None:
            watch.tile(task, done, total)

    try:
        image = settings.opening(task).open()
        if alone and (settings.is_slide(image) or math.prod(image.shape[1:]) > SMALL_PIXELS):
            raise TooLargeError
        if compute is not None or settings.is_slide(image):
            own = None if compute is None else compute(settings.opening(task))
            return _segment_slide(task, image, model, settings, progress, own)
        found = segment(
            image,
            model,
            zoom=settings.zoom_for(model, image),
            min_confidence=settings.min_confidence,
            workers=1 if alone else None,
            progress=progress,
        )
        make_folder(task.labels.parent)
        write_labels(found.labels, task.labels)
        if settings.overlay:
            draw_overlay(found.labels, image, task.overlay)
        if settings.exports:
            _export(task, settings, found.labels, found.confidence, found.cores)
    except OutputError:
        raise
    except AnycellError as error:
        seconds = time.perf_counter() - began
        return FileResult(task.image, task.labels, "failed", seconds=seconds, error=error)
    return FileResult(
        task.image,
        task.labels,
        "done",
        cells=int(found.labels.max(initial=0)),
        zoom=found.zoom,
        plan=found.plan,
        levels=found.levels,
        seconds=time.perf_counter() - began,
    )


def _segment_slide(
    task: Task,
    image: Image,
    model: Predictor,
    settings: FolderSettings,
    progress: Callable[[int, int], None],
    compute: Compute | None,
) -> FileResult:
    began = time.perf_counter()
    target = Target(settings.place(task), image.name, image.pixel_size)
    make_folder(target.path.parent)
    zoom, least = settings.zoom_for(model, image), settings.min_confidence
    # The one on all cores would keep memory of its own: a slide leaves it alone.
    alone = model.split(2)[0]
    road = prepare(image, alone, Asked(zoom=zoom, min_confidence=least))
    going = Going(settings.resume, settings.shard, compute)
    written = write_slide(road, target, going, progress)
    if settings.overlay:
        draw_overlay(open_labels(target.path), image, task.overlay)
    if settings.exports:
        cores = [tile.core for tile in road.tiles]
        _export(task, settings, open_labels(target.path), written.confidence, cores)
    return FileResult(
        task.image,
        target.path if written.path is not None else target.parts,
        "done" if written.path is not None else "shard",
        cells=written.cells,
        zoom=road.zoom,
        plan=road.plan,
        levels=told(road.levels),
        seconds=time.perf_counter() - began,
    )


def _export(
    task: Task,
    settings: FolderSettings,
    labels: Plane,
    confidence: NDArray[np.float32],
    cores: Sequence[Region],
) -> None:
    """Measure the cells on all channels of the file and write them."""
    image = replace(settings.opening(task), channels=None).open()
    cells = measure(labels, image, confidence=confidence, cores=cores, name=task.image.name)
    write_exports(cells, image, task.labels.parent, task.name, settings.exports)
