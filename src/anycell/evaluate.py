"""Judge predictions against truth, file by file, and say how it was done.

Which files belong together is told in :mod:`anycell.pairing`.  A missing prediction is
an image full of misses and is listed; a file that cannot be read or is of another size
is an error.  Nothing here knows what made the predictions.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from anycell import __version__
from anycell.errors import InputError, OutputError
from anycell.files import read_labels
from anycell.labels import Labels
from anycell.matching import RULES, Rules
from anycell.pairing import Truth, find_truths, pair_files, unused_files
from anycell.scores import METRICS, Score, Summary, mean_over, score_pair, summarize

__all__ = ["Evaluation", "ImageScores", "Progress", "evaluate", "judge", "score_pair"]

UNSIZED = (".geojson", ".zip")
"""Outlines that may not say how large their image is: it is as large as the prediction."""

Progress = Callable[[int, int, str], None]
"""Called after each image with images done, images in all, and the image's name."""


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image, one per IoU threshold.

    Attributes
    ----------
    group, name, modality : what the image is; an empty modality is unknown.
    truth : the file of the true labels.
    prediction : the file that was judged; None when it was missing.
    scores : in the order of ``Rules.iou``.
    """

    group: str
    name: str
    modality: str
    truth: Path
    prediction: Path | None
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Evaluation:
    """What came out, with everything needed to say how it was made.

    Attributes
    ----------
    rules : how cells were compared.
    images : ordered by group, then name.
    unused : files called ``*_label.*`` among the predictions that no truth asked for.
    predictions, truth : the two places, as they were given.
    version : of anycell.
    """

    rules: Rules
    images: tuple[ImageScores, ...]
    unused: tuple[Path, ...]
    predictions: Path
    truth: Path
    version: str

    @property
    def missing(self) -> tuple[str, ...]:
        """``group/name`` of the images without a prediction, scored as misses."""
        return tuple(f"{v.group}/{v.name}" for v in self.images if v.prediction is None)

    @cached_property
    def overall(self) -> tuple[Summary, ...]:
        """All images together, one summary per threshold."""
        return _summaries("all images", self.images)

    @cached_property
    def groups(self) -> dict[str, tuple[Summary, ...]]:
        """Each group by its name, one summary per threshold."""
        return _summaries_by("group", self.images)

    @cached_property
    def modalities(self) -> dict[str, tuple[Summary, ...]]:
        """Each modality by its name, as far as a manifest tells them."""
        return _summaries_by("modality", [v for v in self.images if v.modality])

    @cached_property
    def over_groups(self) -> tuple[Summary, ...]:
        """The mean over groups, so that a large group does not outweigh the others."""
        levels = zip(*self.groups.values(), strict=True)
        return tuple(mean_over("mean over groups", level) for level in levels)

    def table(self) -> list[dict[str, str | int | float]]:
        """Plain rows to print: groups, modalities, mean over groups, all images.

        F1 at the lowest threshold comes as mean, median and pooled; the other columns
        are means over images.
        """
        parts = [*self.groups.values()]
        if len(self.modalities) > 1:
            parts.extend(self.modalities.values())
        if len(self.groups) > 1:
            parts.append(self.over_groups)
        return [_table_row(summaries) for summaries in [*parts, self.overall]]

    def to_csv(self, path: Path) -> None:
        """Write one line per image and threshold.

        Raises
        ------
        OutputError : the file cannot be written.
        """
        rows = [row for image in self.images for row in _image_rows(image)]
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _write(path, text.getvalue())

    def to_json(self, path: Path) -> None:
        """Write rules, version, sources, summaries and every image's scores.

        Raises
        ------
        OutputError : the file cannot be written.
        """
        preset = [name for name, rules in RULES.items() if rules == self.rules]
        content = {
            "anycell": self.version,
            "rules": {"name": preset[0] if preset else None, **asdict(self.rules)},
            "predictions": str(self.predictions),
            "truth": str(self.truth),
            "images": len(self.images),
            "missing": list(self.missing),
            "unused": [str(file) for file in self.unused],
            "overall": [asdict(v) for v in self.overall],
            "over_groups": [asdict(v) for v in self.over_groups],
            "groups": {k: [asdict(v) for v in vs] for k, vs in self.groups.items()},
            "modalities": {k: [asdict(v) for v in vs] for k, vs in self.modalities.items()},
            "per_image": [row for image in self.images for row in _image_rows(image)],
        }
        _write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def evaluate(
    predictions: Path | str,
    truth: Path | str,
    rules: Rules = RULES["neurips2022"],
    *,
    use: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a folder of predictions against a folder or a manifest of true labels.

    One pair of images is in memory at a time.

    Parameters
    ----------
    use : which rows of a manifest, by its column ``use``; it must be given when there
        are several uses, so that training images are never judged by accident.

    Raises
    ------
    InputError : nothing to compare, an unreadable file, two sizes that differ, a name
        that could mean two images or two files.
    SettingError : ``use`` is missing, unknown, or given without a manifest.
    """
    predictions, truth = Path(predictions), Path(truth)
    pairs = pair_files(predictions, find_truths(truth, use))
    images = []
    for done, (one, file) in enumerate(pairs, start=1):
        images.append(judge(one, file, rules))
        if progress is not None:
            progress(done, len(pairs), f"{one.group}/{one.name}")
    return Evaluation(
        rules=rules,
        images=tuple(images),
        unused=unused_files(predictions, pairs),
        predictions=predictions,
        truth=truth,
        version=__version__,
    )


def judge(one: Truth, file: Path | None, rules: Rules = RULES["neurips2022"]) -> ImageScores:
    """Score one file of predicted labels; None is a missing one, all of it misses.

    Raises
    ------
    InputError : an unreadable file, or one of another size than its truth.
    """
    if file is None:
        true = read_labels(one.file)
        # An empty image may score above 0, a missing one never.
        scores = score_pair(np.zeros_like(true), true, replace(rules, empty=0.0))
    else:
        predicted = read_labels(file)
        sized = one.file.name.lower().endswith(UNSIZED)
        true = read_labels(one.file, shape=predicted.shape if sized else None)
        _check_size(predicted, true, file, one.file)
        scores = score_pair(predicted, true, rules)
    return ImageScores(one.group, one.name, one.modality, one.file, file, scores)


def _check_size(predicted: Labels, true: Labels, file: Path, truth: Path) -> None:
    if predicted.shape == true.shape:
        return
    sizes = [f"{v.shape[0]} x {v.shape[1]} pixels" for v in (predicted, true)]
    turned = predicted.shape == true.shape[::-1]
    raise InputError(
        f"{file} has {sizes[0]}, its truth {truth} has {sizes[1]}",
        expected="the same rows and columns",
        hint="numpy.transpose, rows and columns are swapped" if turned else "",
    )


def _summaries(name: str, images: Iterable[ImageScores]) -> tuple[Summary, ...]:
    levels = zip(*(image.scores for image in images), strict=True)
    return tuple(summarize(name, level) for level in levels)


def _summaries_by(what: str, images: Iterable[ImageScores]) -> dict[str, tuple[Summary, ...]]:
    sets: dict[str, list[ImageScores]] = {}
    for image in images:
        sets.setdefault(getattr(image, what), []).append(image)
    return {name: _summaries(name, sets[name]) for name in sorted(sets)}


def _table_row(summaries: tuple[Summary, ...]) -> dict[str, str | int | float]:
    low = summaries[0]
    row: dict[str, str | int | float] = {
        "group": low.name,
        "images": low.images,
        "cells": low.true,
        "predicted": low.predicted,
    }
    for how in ("mean", "median", "pooled"):
        row[f"F1@{low.iou:g} {how}"] = getattr(low, how).f1
    row |= {f"F1@{v.iou:g}": v.mean.f1 for v in summaries[1:]}
    if len(summaries) > 1:
        span = f"F1@{low.iou:g}:{summaries[-1].iou:g}"
        row[span] = float(np.mean([v.mean.f1 for v in summaries]))
    names = {"precision": "precision", "recall": "recall", "ap": "AP", "pq": "PQ"}
    return row | {f"{names[v]}@{low.iou:g}": getattr(low.mean, v) for v in METRICS if v in names}


def _image_rows(image: ImageScores) -> list[dict[str, Any]]:
    source = {
        "group": image.group,
        "name": image.name,
        "modality": image.modality,
        "missing": image.prediction is None,
        "truth": str(image.truth),
        "prediction": str(image.prediction or ""),
    }
    counts = ("iou", "true", "predicted", "tp", "fp", "fn", "iou_sum")
    return [
        source | {v: getattr(score, v) for v in counts} | asdict(score.values)
        for score in image.scores
    ]


def _write(path: Path, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
