"""The table of methods: a network, a representation and a recipe under one name.

A method is untrained; trained it becomes a model (``anycell.model``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from anycell.errors import SettingError, unknown_name

__all__ = ["LEARNING", "LOOKS", "METHODS", "OPTIMIZERS", "Method", "Recipe", "method"]

LEARNING = ("supervised", "mean-teacher", "parity")
"""What is made of unlabeled images; see ``anycell.lessons``."""

OPTIMIZERS = ("muon", "adamw")
"""See ``anycell.optimizers``."""

LOOKS = ("near", "far", "strange")
"""See ``anycell.augment``."""


@dataclass(frozen=True)
class Recipe:
    """How a method is trained.

    Attributes
    ----------
    steps : batches in all.
    optimizer : ``muon`` or ``adamw`` (``anycell.optimizers``).
    rate : the highest learning rate.
    warm_up : steps over which the rate rises to it.
    cool_down : the last share of the steps, over which the rate falls to zero.
    decay : weight decay.
    memory : share of the averaged model that is kept at each step (EMA).
    clip : largest norm of a gradient.
    side, crops : rows and columns of a crop, and crops in a batch.
    typical, spread : median cell diameter of crops, pixels, and the standard deviation of
        its natural logarithm around it.
    seed : of weights, crops and augmentation.
    cutmix, transplant, amplitude : chances per crop to take something from another one
        (``anycell.mixing``).
    free, consistency : share of a batch that is unlabeled, and the weight of what is learned
        from it; for the learning ``mean-teacher``.
    teach_at : share of the steps after which pseudo-labels are made; for ``parity``.
    looks : one of ``LOOKS``: how far the looks of images are moved.
    reuse : steps that a batch is used for, each time with other looks; above 1 where crops are
        cut slower than a GPU learns from them.
    """

    steps: int = 20_000
    optimizer: str = "muon"
    rate: float = 4e-3
    warm_up: int = 300
    cool_down: float = 0.25
    decay: float = 0.02
    memory: float = 0.999
    clip: float = 2.0
    side: int = 256
    crops: int = 16
    typical: float = 24.0
    spread: float = 0.5
    seed: int = 1
    cutmix: float = 0.0
    transplant: float = 0.0
    amplitude: float = 0.0
    free: float = 0.25
    consistency: float = 0.5
    teach_at: float = 0.5
    looks: str = "near"
    reuse: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        if self.steps < 1 or self.crops < 2 or self.side < 64 or self.side % 32:
            raise SettingError(
                f"steps {self.steps}, crops {self.crops}, side {self.side}",
                expected="steps from 1, crops from 2, side a multiple of 32 from 64",
            )
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        if self.looks not in LOOKS:
            raise unknown_name("looks", self.looks, LOOKS)
        if self.reuse < 1:
            raise SettingError(f"reuse {self.reuse}", expected="a batch used from 1 time")
        shares = (self.cutmix, self.transplant, self.amplitude, self.free, self.teach_at)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise SettingError(
                "cutmix, transplant, amplitude, free, teach_at: " + ", ".join(map(str, shares)),
                expected="each 0 .. 1",
            )

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with some settings replaced; unknown names are an error."""
        known = [f.name for f in fields(self)]
        for name in settings:
            if name not in known:
                raise unknown_name("recipe setting", name, known)
        return replace(self, **settings)


@dataclass(frozen=True)
class Method:
    """A network and a representation that are trained together.

    Attributes
    ----------
    network : name in ``anycell.networks.NETWORKS``; None when nothing is trained.
    representation : name in ``anycell.representations.REPRESENTATIONS``.
    summary : the idea in one line.
    reference : where it comes from.
    learning : one of ``LEARNING``: what it makes of unlabeled images.
    """

    name: str
    network: str | None
    representation: str
    summary: str
    reference: str
    recipe: Recipe = field(default_factory=Recipe)
    learning: str = "supervised"


def _table(*methods: Method) -> dict[str, Method]:
    return {m.name: m for m in methods}


BASELINE = Recipe(optimizer="adamw", rate=6e-4)
"""Optimizer and learning rate of the challenge's baseline, for its three networks with its
three classes."""

METHODS: dict[str, Method] = _table(
    Method(
        "votes",
        "swift",
        "votes",
        "each pixel votes for an ancestor towards its cell's centre; composed votes meet in sinks",
        "anycell",
    ),
    Method(
        "flows",
        "swift",
        "flows",
        "unit flow of the heat that spreads from each cell's centre, followed back to sinks",
        "Cellpose: Stringer et al. 2021",
    ),
    Method(
        "omni",
        "swift",
        "omni",
        "gradient of a smooth distance to the outline, followed by ever shorter steps, clustered",
        "Omnipose: Cutler et al. 2022",
    ),
    Method(
        "stars",
        "swift",
        "stars",
        "object probability and the distance to the outline along 32 rays; best polygons stay",
        "StarDist: Schmidt et al. 2018",
    ),
    Method(
        "masks",
        "swift",
        "masks",
        "seeds emit tiny kernels that draw their cells' masks in a window; best masks stay",
        "CondInst: Tian et al. 2020; SOLOv2: Wang et al. 2020",
    ),
    Method(
        "watershed",
        "swift",
        "watershed",
        "nearness to the cell's centre, and pixel classes; a watershed grows from its peaks",
        "Mesmer: Greenwald et al. 2022",
    ),
    Method(
        "threeclass",
        "swift",
        "threeclass",
        "background, interior and boundary; interiors are pieces, grown back over their boundary",
        "challenge baseline: Ma et al. 2024",
    ),
    Method(
        "unet-3class",
        "unet",
        "threeclass",
        "background, interior and boundary by a residual U-Net; interiors are grown back",
        "challenge baseline: Ma et al. 2024; Ronneberger et al. 2015",
        BASELINE,
    ),
    Method(
        "unetr-3class",
        "unetr",
        "threeclass",
        "the same by a vision transformer with a convolutional decoder",
        "challenge baseline; Hatamizadeh et al. 2021; Dosovitskiy et al. 2020",
        BASELINE,
    ),
    Method(
        "swinunetr-3class",
        "swinunetr",
        "threeclass",
        "the same by a transformer with shifted windows and a convolutional decoder",
        "challenge baseline; Hatamizadeh et al. 2022; Liu et al. 2021",
        BASELINE,
    ),
    Method(
        "votes-unet",
        "unet",
        "votes",
        "votes by the baseline's U-Net",
        "anycell; Ronneberger et al. 2015",
    ),
    Method(
        "votes-unetr",
        "unetr",
        "votes",
        "votes by the baseline's UNETR",
        "anycell; Hatamizadeh et al. 2021",
    ),
    Method(
        "votes-swinunetr",
        "swinunetr",
        "votes",
        "votes by the baseline's SwinUNETR",
        "anycell; Hatamizadeh et al. 2022",
    ),
    Method(
        "mean-teacher",
        "swift",
        "votes",
        "votes; on unlabeled images, to say of changed ones what the averaged model says of plain",
        "Tarvainen & Valpola 2017",
        learning="mean-teacher",
    ),
    Method(
        "parity",
        "swift",
        "votes",
        "votes; learns half of the time from its own cells in unlabeled images, if believed",
        "anycell: parity distillation",
        Recipe(cutmix=0.2, transplant=0.2, amplitude=0.2),
        learning="parity",
    ),
    Method(
        "classical",
        None,
        "classical",
        "Otsu threshold and watershed of the distance to the background; nothing is trained",
        "Otsu 1979; Vincent & Soille 1991",
    ),
)


def method(name: str) -> Method:
    """Look up a method; unknown names are a SettingError with the nearest one."""
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]
