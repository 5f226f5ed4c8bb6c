"""A comparison: results of several entries on the same images, and how they were made."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anycell.compare.entries import ImageResult, Result, from_plain
from anycell.errors import FormatError, InputError
from anycell.files.damage import replacing
from anycell.matching import Rules
from anycell.runs import plain

__all__ = ["COMPARISON_FILE", "Comparison", "HeldOut", "read_comparison"]

COMPARISON_FILE = "comparison.json"
FORMAT = 1


@dataclass(frozen=True)
class HeldOut:
    """An image that contenders are judged on.

    Attributes
    ----------
    group, name, modality : what it is; an empty modality is unknown.
    image, labels : its files.
    megapixels : its size.
    diameter : median equivalent diameter of its true cells, pixels; 0 without cells.
    """

    group: str
    name: str
    modality: str
    image: str
    labels: str
    megapixels: float
    diameter: float


@dataclass(frozen=True)
class Comparison:
    """Several entries on the same images.

    Attributes
    ----------
    rules : how cells were compared.
    images : that all were judged on, by group and name.
    results : one per entry.
    budget : what all trainings had in common: steps, crops, side, other settings asked for.
    machine : processor, cores, system.
    versions : of anycell and the libraries.
    command, date : of the run.
    """

    rules: Rules
    images: tuple[HeldOut, ...]
    results: tuple[Result, ...]
    budget: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    command: tuple[str, ...]
    date: str

    @property
    def good(self) -> tuple[Result, ...]:
        """The results that there are: what failed altogether is left out."""
        return tuple(result for result in self.results if result.images)

    @property
    def failed(self) -> tuple[Result, ...]:
        """The results with an error, be it of some images only."""
        return tuple(result for result in self.results if result.error)

    def write(self, folder: Path) -> None:
        """Write ``comparison.json``, ``images.csv`` and ``entries.csv``.

        Raises
        ------
        OutputError : they cannot be written.
        """
        content = {
            "format": FORMAT,
            **asdict(self),
            "results": [result.plain() for result in self.results],
        }
        text = json.dumps(plain(content), indent=1, allow_nan=False) + "\n"
        _write(folder / COMPARISON_FILE, text)
        _write(folder / "images.csv", _csv([row for r in self.good for row in _image_rows(r)]))
        _write(folder / "entries.csv", _csv([_entry_row(r) for r in self.results]))


def read_comparison(folder: Path) -> Comparison:
    """Read what :meth:`Comparison.write` wrote.

    Raises
    ------
    InputError : there is none.
    FormatError : it is damaged, or of another version.
    """
    path = folder / COMPARISON_FILE if folder.is_dir() else folder
    if not path.is_file():
        raise InputError(
            f"there is no {path}",
            expected="a folder that anycell compare wrote",
            hint=f"anycell compare DATA --methods votes,classical -o {folder}",
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise FormatError(
                f"{path} has the format {content['format']}", expected=f"format {FORMAT}"
            )
        return _comparison(content)
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{path} cannot be read: {error}", expected="the file as anycell compare wrote it"
        ) from error


def _comparison(content: Mapping[str, Any]) -> Comparison:
    rules = dict(content["rules"])
    return Comparison(
        rules=Rules(**{**rules, "iou": tuple(rules["iou"])}),
        images=tuple(HeldOut(**image) for image in content["images"]),
        results=tuple(from_plain(result) for result in content["results"]),
        budget=dict(content["budget"]),
        machine=dict(content["machine"]),
        versions=dict(content["versions"]),
        command=tuple(content["command"]),
        date=content["date"],
    )


def _image_rows(result: Result) -> list[dict[str, Any]]:
    entry = result.entry
    about = {"contender": entry.contender, "seed": "" if entry.seed is None else entry.seed}
    return [about | _score_row(image, k) for image in result.images for k in _levels(image)]


def _levels(image: ImageResult) -> range:
    return range(len(image.scores))


def _score_row(image: ImageResult, level: int) -> dict[str, Any]:
    score = image.scores[level]
    return {
        "group": image.group,
        "name": image.name,
        "missing": image.missing,
        "seconds": "" if image.seconds is None else round(image.seconds, 4),
        "zoom": "" if image.zoom is None else image.zoom,
        "iou": score.iou,
        "tp": score.tp,
        "fp": score.fp,
        "fn": score.fn,
        "iou_sum": score.iou_sum,
        **asdict(score.values),
    }


def _entry_row(result: Result) -> dict[str, Any]:
    row = {
        "contender": result.entry.contender,
        **asdict(result.entry),
        **asdict(result.cost),
        "model": result.model,
        "images": len(result.images),
        "missing": sum(image.missing for image in result.images),
        "error": result.error,
    }
    return {k: "" if v is None else v for k, v in row.items()}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
