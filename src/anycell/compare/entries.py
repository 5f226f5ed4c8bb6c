"""Entries: what was judged, what it cost, and how every image came out.

An entry is one line of the table, whatever made it: a method trained here with one
seed, a model that was there, or label files of another tool.  Entries that differ in
nothing but the seed are one contender.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from anycell.errors import FormatError
from anycell.evaluate import ImageScores
from anycell.methods import METHODS
from anycell.scores import Score

__all__ = ["ZOOM_SCHEMES", "Cost", "Entry", "ImageResult", "Kind", "Result", "from_plain"]

Kind = Literal["method", "model", "predictions"]

ZOOM_SCHEMES: dict[str, str] = {
    "plan": "the zoom is found for each image",
    "diameter": "one zoom for all, from the median diameter of the true cells",
    "none": "zoom 1, a sliding window",
}
"""How a model is brought to the size of the cells."""


@dataclass(frozen=True)
class Entry:
    """What was judged.

    Attributes
    ----------
    name : of the method, the model or the tool.
    kind : trained here, a model that was there, or files of another tool.
    method : name in ``anycell.methods.METHODS``; empty when it is none of them.
    seed : of the training; None when nothing was trained or it is not known.
    share : of the labels that were learned from, 0 .. 1.
    learning : supervised, mean-teacher or parity; empty when nothing was learned or it is
        not known.
    simulation : whether simulated images were learned from; None when not known.
    zoom : one of ``ZOOM_SCHEMES``; empty for files of another tool.
    """

    name: str
    kind: Kind
    method: str = ""
    seed: int | None = None
    share: float = 1.0
    learning: str = ""
    simulation: bool | None = None
    zoom: str = "plan"

    @property
    def contender(self) -> str:
        """The name in tables, with what is out of the ordinary; the same for all seeds."""
        parts = [self.name]
        own = METHODS[self.method].learning if self.method in METHODS else "supervised"
        if self.learning not in ("", own):
            parts.append(self.learning)
        if self.share != 1.0:
            parts.append(f"{100 * self.share:g} % of labels")
        if self.zoom not in ("", "plan"):
            parts.append({"none": "no zoom", "diameter": "one zoom"}[self.zoom])
        return ", ".join(parts)

    @property
    def slug(self) -> str:
        """The name of its folder of predictions."""
        parts = [self.contender, *([] if self.seed is None else [f"seed-{self.seed}"])]
        return re.sub(r"[^\w.]+", "-", "-".join(parts))


@dataclass(frozen=True)
class Cost:
    """What an entry costs; None where nobody measured.

    Attributes
    ----------
    seconds_per_mp : to segment, per megapixel: median over images, warm, loading left out.
    start_seconds : from the start of a fresh process to the model's readiness.
    peak_memory : bytes, of a fresh process that segmented all images one by one.
    parameters : of the network; 0 when there is none.
    train_seconds : spent on training, validations included.
    steps : of the training.
    """

    seconds_per_mp: float | None = None
    start_seconds: float | None = None
    peak_memory: int | None = None
    parameters: int | None = None
    train_seconds: float | None = None
    steps: int | None = None


@dataclass(frozen=True)
class ImageResult:
    """How one image came out.

    Attributes
    ----------
    group, name : which image.
    missing : there was no prediction; every cell is a miss.
    seconds : to segment it; None for files of another tool.
    zoom : that was used; None likewise.
    scores : one per threshold of the rules.
    """

    group: str
    name: str
    missing: bool
    seconds: float | None
    zoom: float | None
    scores: tuple[Score, ...]

    @classmethod
    def of(cls, judged: ImageScores, timing: Mapping[str, Any]) -> ImageResult:
        """Put the scores of an image together with what its segmentation took."""
        return cls(
            judged.group,
            judged.name,
            judged.prediction is None,
            timing.get("seconds"),
            timing.get("zoom"),
            judged.scores,
        )


@dataclass(frozen=True)
class Result:
    """An entry and what came out.

    Attributes
    ----------
    entry : what was judged.
    images : in the order of ``Comparison.images``; empty when it failed.
    cost : what it took.
    model : hash of the model; empty for files of another tool.
    predictions : folder of the label files, as seen from that of the comparison.
    run : folder of the training likewise; empty when it was not trained here.
    error : why there is no result, or which images failed; empty when all went well.
    """

    entry: Entry
    images: tuple[ImageResult, ...] = ()
    cost: Cost = field(default_factory=Cost)
    model: str = ""
    predictions: str = ""
    run: str = ""
    error: str = ""

    def plain(self) -> dict[str, Any]:
        """Values for JSON."""
        return {**asdict(self), "contender": self.entry.contender}


def from_plain(content: Mapping[str, Any]) -> Result:
    """Undo :meth:`Result.plain`; what a later version added is passed over.

    Raises
    ------
    FormatError : a part is missing.
    """
    try:
        images = tuple(
            replace(
                _known(ImageResult, image), scores=tuple(_known(Score, v) for v in image["scores"])
            )
            for image in content["images"]
        )
        result: Result = replace(
            _known(Result, content),
            entry=_known(Entry, content["entry"]),
            cost=_known(Cost, content["cost"]),
            images=images,
        )
    except (KeyError, TypeError) as error:
        raise FormatError(
            f"a result without {error}", expected="a comparison.json of this version of anycell"
        ) from error
    return result


def _known(kind: Any, content: Mapping[str, Any]) -> Any:
    """Make a dataclass of the values that it has fields for."""
    names = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in content.items() if k in names})
