"""The journal of a segmentation: which images are done, with which model, how long each took.

One JSON object per line, appended after each image, so that a run that was killed loses
one image at most.  The first line says what the rest was made with; when that is no
longer true, a new journal is begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anycell import __version__

__all__ = ["Journal"]


@dataclass
class Journal:
    """Lines read so far, and the file that new ones are appended to."""

    path: Path
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, made_with: Mapping[str, Any]) -> Journal:
        """Go on with a journal, or begin one when another model or setting made it."""
        head = {"made_with": {**made_with, "version": __version__}}
        lines = _lines(path)
        if lines and lines[0] == head:
            # Without what was cut off, so that the next line begins a line.
            path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            return cls.read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(head) + "\n", encoding="utf-8")
        return cls(path)

    @classmethod
    def read(cls, path: Path) -> Journal:
        """Read what is there; an empty journal when there is no file."""
        journal = cls(path)
        for line in _lines(path)[1:]:
            if "image" in line:
                journal.failed.pop(line["key"], None)
                journal.images[line["key"]] = line
            elif "error" in line:
                journal.failed[line["key"]] = line["error"]
            elif "start" in line:
                journal.starts.append(line["start"])
                journal.peaks += [line["peak"]] if line["peak"] else []
        return journal

    def has(self, image: Mapping[str, Any]) -> bool:
        """Whether an image was segmented from the same file, and its labels are there."""
        line = self.images.get(_key(image))
        return (
            line is not None
            and line["image"] == image["image"]
            and Path(image["prediction"]).is_file()
        )

    def add(self, image: Mapping[str, Any], what: Mapping[str, Any]) -> None:
        """Note an image with its seconds and zoom."""
        self._append({"key": _key(image), "image": image["image"], **what})

    def fail(self, image: Mapping[str, Any], error: str) -> None:
        """Note an image that could not be segmented."""
        self._append({"key": _key(image), "error": error})

    def close(self, *, start: float, peak: int | None) -> None:
        """Note what the process took: seconds until the model was ready, bytes at most."""
        self._append({"start": start, "peak": peak})

    @property
    def start(self) -> float | None:
        """Median seconds from a fresh process to a loaded model."""
        return float(np.median(self.starts)) if self.starts else None

    @property
    def peak(self) -> int | None:
        """The most memory of all the processes, bytes."""
        return max(self.peaks, default=None)

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _key(image: Mapping[str, Any]) -> str:
    return f"{image['group']}/{image['name']}"


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines that are whole; the last one may have been cut off."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(text))
        except ValueError:
            break
    return found
