"""Views: the same image turned and scaled, and what a model makes of each.

A good model says the same of an image and of its mirror image.  ``Averaged`` turns the
fields of all views back and takes their mean; ``agreement`` says of each cell how well
another view found it again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from anycell.confidence import RAW, ConfidenceMap
from anycell.errors import InputError
from anycell.labels import Labels, areas
from anycell.predictor import Predictor
from anycell.representations import Fields, Representation
from anycell.turns import TURNS, Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Averaged", "Believing", "agreement"]

WORST_PARITY = 0.2
LEAST_MARGIN = 0.3


@runtime_checkable
class _HasParity(Protocol):
    """A representation that can compare its outputs with those of the cells found."""

    def parity(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Difference of outputs and ideal outputs of each cell, in diameters."""

    def margin(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """How far from undecided the foreground of each cell is, 0 .. 1."""


@dataclass(frozen=True)
class Averaged:
    """A predictor that sees each tile in several turns, and gives the mean of its fields.

    Attributes
    ----------
    predictor : sees the tiles.
    turns : in which it sees them.
    strict : confidences become distances from not being believed (``Believing``).
    """

    predictor: Predictor
    turns: tuple[Turn, ...] = TURNS
    strict: bool = False

    @property
    def name(self) -> str:
        """The predictor's name and the number of turns."""
        return f"{self.predictor.name}, {len(self.turns)} turns"

    @property
    def hash(self) -> str:
        """The predictor's digits: the same weights."""
        return self.predictor.hash

    @property
    def representation(self) -> Representation:
        """What the outputs are."""
        plain = self.predictor.representation
        return Believing(plain) if self.strict else plain

    @property
    def halo(self) -> int:
        """As the predictor's."""
        return self.predictor.halo

    @property
    def multiple(self) -> int:
        """As the predictor's."""
        return self.predictor.multiple

    @property
    def diameter(self) -> float | None:
        """As the predictor's."""
        return self.predictor.diameter

    @property
    def min_confidence(self) -> float:
        """As the predictor's."""
        return self.predictor.min_confidence

    @property
    def confidence_map(self) -> ConfidenceMap:
        """As the predictor's; distances from not being believed are no confidences."""
        return RAW if self.strict else self.predictor.confidence_map

    def look(self, overview: NDArray[np.float32]) -> Averaged:
        """Let the predictor look at the image."""
        return replace(self, predictor=self.predictor.look(overview))

    def split(self, count: int) -> tuple[Averaged, ...]:
        """Split the predictor."""
        return tuple(replace(self, predictor=one) for one in self.predictor.split(count))

    @property
    def style_size(self) -> int:
        """As the predictor's."""
        return self.predictor.style_size

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the predictor's."""
        return self.predictor.style(tiles)

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        """Predict tiles whose sides are multiples of ``multiple`` in every turn."""
        total: Fields | None = None
        for turn in self.turns:
            turned = np.ascontiguousarray(turn.plane(tiles))
            found = self.predictor.outputs(turned, style)
            back = np.stack([self.representation.turn(f, turn.inverse) for f in found])
            total = back if total is None else total + back
        if total is None:
            raise InputError("no turns to average over", expected="at least one")
        mean: Fields = total / np.float32(len(self.turns))
        return mean


@dataclass(frozen=True)
class Believing:
    """A representation whose confidence says how far a cell is from not being believed.

    0.5 is where a parity of ``WORST_PARITY`` or a foreground margin of ``LEAST_MARGIN``
    lies, whichever is worse; without parity it is the representation's own confidence.
    """

    inner: Representation

    @property
    def name(self) -> str:
        """As the representation's."""
        return self.inner.name

    @property
    def channels(self) -> int:
        """As the representation's."""
        return self.inner.channels

    @property
    def stride(self) -> int:
        """As the representation's."""
        return self.inner.stride

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Give each cell its distance from not being believed, 0 .. 1."""
        if not isinstance(self.inner, _HasParity):
            return self.inner.confidence(outputs, labels)
        parity = 1.0 - self.inner.parity(outputs, labels) / (2.0 * WORST_PARITY)
        margin = self.inner.margin(outputs, labels) / (2.0 * LEAST_MARGIN)
        strength: NDArray[np.float32] = np.clip(np.minimum(parity, margin), 0.0, 1.0)
        return strength.astype(np.float32)

    def encode(self, labels: Labels) -> Fields:
        """As the representation does."""
        return self.inner.encode(labels)

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """As the representation does."""
        return self.inner.decode(outputs, shape)

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """As the representation does."""
        return self.inner.turn(fields, turn)

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Nothing is trained through a view."""
        raise InputError("a loss of a view", expected="the representation's own")


def agreement(labels: Labels, other: Labels) -> NDArray[np.float64]:
    """IoU of each cell 1..n of ``labels`` with the cell of ``other`` that is most like it."""
    count = int(labels.max(initial=0)) + 1
    both = (labels > 0) & (other > 0)
    base = int(other.max(initial=0)) + 1
    code, shared = np.unique(labels[both].astype(np.int64) * base + other[both], return_counts=True)
    mine, theirs = np.divmod(code, base)
    union = areas(labels)[mine] + areas(other)[theirs] - shared
    best = np.zeros(count)
    np.maximum.at(best, mine, shared / np.maximum(union, 1))
    return best[1:]
