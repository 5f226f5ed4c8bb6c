"""Representations: how labels become fields that a network can learn, and back.

One file per representation; the files do not import one another.  A new one is one
file with a class of the methods below and one line in ``REPRESENTATIONS``.

Shapes: labels are H x W; fields are channels x ceil(H / stride) x ceil(W / stride),
float32.  ``encode`` gives the ideal outputs in its first ``channels`` planes (logits
as +-``LOGIT``), so that ``decode(encode(labels)[:channels], labels.shape)`` is the
round trip; further planes, if any, only serve ``loss``.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from anycell.errors import unknown_name
from anycell.labels import Labels
from anycell.turns import Turn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOGIT", "REPRESENTATIONS", "Fields", "Levelled", "Representation", "representation"]

Fields = NDArray[np.float32]

LOGIT = 8.0
"""The logit that stands for certainty in encoded targets (a probability of 0.9997)."""


class Representation(Protocol):
    """What every representation offers."""

    @property
    def name(self) -> str:
        """The name in the table."""

    @property
    def channels(self) -> int:
        """Planes that the network puts out."""

    @property
    def stride(self) -> int:
        """Image pixels per field pixel, along each axis."""

    def encode(self, labels: Labels) -> Fields:
        """Turn labels into targets; planes beyond ``channels`` only serve ``loss``."""

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
        """Compare outputs and targets: batch x planes x h x w each, a scalar out.

        ``weight`` is batch x 1 x H x W of the image's own pixels: 0 where a pixel must
        be ignored.
        """

    def decode(self, outputs: Fields, shape: tuple[int, int]) -> Labels:
        """Turn outputs into labels of ``shape``, numbered 1..n without gaps."""

    def turn(self, fields: Fields, turn: Turn) -> Fields:
        """Turn fields as the image was turned, arrows and rays included."""

    def confidence(self, outputs: Fields, labels: Labels) -> NDArray[np.float32]:
        """Give each cell 1..n of ``labels`` a value in 0..1, higher is surer."""


@runtime_checkable
class Levelled(Representation, Protocol):
    """A representation whose foreground may be cut at several probabilities.

    Its confidence must not depend on the level, so that levels can be compared.
    """

    @property
    def levels(self) -> tuple[float, ...]:
        """Foreground probabilities to choose from; the usual one comes first."""

    def at_level(self, level: float) -> Self:
        """Give the same representation with another foreground probability."""


REPRESENTATIONS: dict[str, str] = {
    "classical": "anycell.representations.classical:Classical",
    "flows": "anycell.representations.flows:Flows",
    "masks": "anycell.representations.masks:Masks",
    "omni": "anycell.representations.omni:Omni",
    "stars": "anycell.representations.stars:Stars",
    "threeclass": "anycell.representations.threeclass:ThreeClass",
    "votes": "anycell.representations.votes:Votes",
    "watershed": "anycell.representations.watershed:Watershed",
}
"""Name -> where its class stands; loaded when asked for."""


def representation(name: str, settings: Mapping[str, Any] | None = None) -> Representation:
    """Make the representation called ``name``; unknown names are a SettingError."""
    if name not in REPRESENTATIONS:
        raise unknown_name("representation", name, REPRESENTATIONS)
    module, _, kind = REPRESENTATIONS[name].partition(":")
    made: Representation = getattr(import_module(module), kind)(**(settings or {}))
    return made
