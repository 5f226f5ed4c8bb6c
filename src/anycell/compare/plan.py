"""What is to be compared, on which images, and where everything goes.

OUT/comparison.json, images.csv, entries.csv    the results
OUT/runs/METHOD[-LEARNING][-SHARE]/seed-K/      trainings; see ``anycell.train``
OUT/predictions/ENTRY/GROUP/NAME_label.tiff     what was segmented
OUT/predictions/ENTRY/segmented.jsonl           with which model, how long each took
OUT/logs/ENTRY.log                              what went wrong, if anything did
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from anycell.compare.comparison import HeldOut
from anycell.compare.entries import ZOOM_SCHEMES
from anycell.errors import InputError, SettingError, unknown_name
from anycell.files import read_labels
from anycell.labels import areas
from anycell.matching import RULES, Rules
from anycell.methods import LEARNING, METHODS, Recipe, method
from anycell.model import bundled
from anycell.samples import Sample, find_samples

__all__ = ["ComparePlan", "find_held_out", "is_simulated", "short_name"]

SIMULATED = "simulated_"
"""How the groups of ``anycell simulate`` begin."""


@dataclass(frozen=True)
class ComparePlan:
    """What to compare.

    Attributes
    ----------
    data : folders of samples; see ``anycell.samples``.  Their held-out images are what
        everything is judged on; trainings learn from the others.
    out : folder for everything; gone on with when it holds a part.
    methods : names in ``METHODS``; each is trained, once per seed.
    models : names and folders of models that are there already.
    predictions : names and folders of label files that another tool made.
    budget : steps of each training.
    seeds : how many trainings of each method, with the seeds 1, 2, ...
    shares : of the labels that are learned from, 0 .. 1; several make a curve.
    learning : of ``anycell.methods.LEARNING``, each method by each; empty for its own.
    recipe : settings of the recipe that are the same for all; crops and side are in any case.
    zoom_schemes : of ``ZOOM_SCHEMES``; each model is judged with each of them.
    validate_every : steps between validations; 0 for a fifth of the budget.  The best
        weights of these are kept.
    validate_images : images per group that a validation looks at.
    workers, threads, device : of training and of the networks; see ``TrainPlan``.
    rules : how cells are compared.
    """

    data: tuple[Path, ...]
    out: Path
    methods: tuple[str, ...] = ()
    models: tuple[tuple[str, str], ...] = ()
    predictions: tuple[tuple[str, Path], ...] = ()
    budget: int = 2000
    seeds: int = 1
    shares: tuple[float, ...] = (1.0,)
    learning: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    zoom_schemes: tuple[str, ...] = ("plan",)
    validate_every: int = 0
    validate_images: int = 3
    workers: int = 1
    threads: int = 0
    device: str = "auto"
    rules: Rules = RULES["neurips2022"]

    def __post_init__(self) -> None:
        """Refuse what cannot be compared, before anything is trained."""
        if not (self.methods or self.models or self.predictions):
            raise SettingError(
                "nothing to compare",
                expected="methods, models or predictions",
                hint="--methods votes,flows --models general",
            )
        if self.budget < 1 or self.seeds < 1 or self.validate_every < 0:
            raise SettingError(
                f"budget {self.budget}, seeds {self.seeds}, validation every {self.validate_every}",
                expected="a budget and seeds from 1, validations every 0 or more steps",
            )
        for scheme in self.zoom_schemes:
            if scheme not in ZOOM_SCHEMES:
                raise unknown_name("zoom scheme", scheme, ZOOM_SCHEMES)
        for learning in self.learning:
            if learning not in LEARNING:
                raise unknown_name("learning", learning, LEARNING)
        if not self.shares or not all(0.0 < share <= 1.0 for share in self.shares):
            raise SettingError(f"shares of labels {self.shares}", expected="each above 0, up to 1")
        self._check_contenders()
        self._check_names()

    def _check_contenders(self) -> None:
        for name in self.methods:
            self.recipe_of(name, 1)
        for _, model in self.models:
            if model not in ("classical", *bundled()) and not Path(model).is_dir():
                raise unknown_name("model", model, (*bundled(), "classical", "PATH"))
        for name, folder in self.predictions:
            if not folder.is_dir():
                raise InputError(f"{folder} is not a folder", expected=f"predictions of {name}")

    def _check_names(self) -> None:
        """Two contenders of one name could not be told apart."""
        named = [name for name, _ in (*self.models, *self.predictions)]
        names = sorted([*self.methods, *named])
        for one, other in pairwise(names):
            if one == other:
                raise SettingError(
                    f"two contenders are called {one!r}",
                    expected="a name of its own for each",
                    hint=f"--models other={one}",
                )

    def recipe_of(self, name: str, seed: int) -> Recipe:
        """The method's own recipe with what is the same for all."""
        same = {"side": Recipe().side, "crops": Recipe().crops, **self.recipe}
        return method(name).recipe.changed({**same, "steps": self.budget, "seed": seed})

    @property
    def trained(self) -> tuple[str, ...]:
        """The methods that have something to train."""
        return tuple(name for name in self.methods if METHODS[name].network is not None)

    @property
    def every(self) -> int:
        """Steps between validations."""
        return self.validate_every or -(-self.budget // 5)


def short_name(model: str) -> str:
    """What to call a model: its folder's name, that of a run for RUN/best."""
    folder = Path(model)
    return folder.resolve().parent.name if folder.name == "best" else folder.name


def is_simulated(groups: set[str] | list[str]) -> bool:
    """Whether simulated images are among the groups."""
    return any(group.startswith(SIMULATED) for group in groups)


def find_held_out(samples: tuple[Sample, ...]) -> tuple[HeldOut, ...]:
    """List the labeled images that are held out, by group and name, and measure their cells.

    Raises
    ------
    InputError : there are none, or two of one name in a group.
    """
    held = sorted(
        (s for s in samples if s.use == "validate" and s.labels is not None),
        key=lambda s: (s.group, s.image.name),
    )
    if not held:
        raise InputError(
            "no held-out images with labels",
            expected="a manifest.csv whose column use says validate, or two labeled images or more",
        )
    found = tuple(_measured(sample) for sample in held)
    for one, other in pairwise(found):
        if (one.group, one.name) == (other.group, other.name):
            raise InputError(
                f"{one.image} and {other.image} are both called {one.name!r}",
                expected="one image for each name up to the first dot, in each group",
            )
    return found


def find_all(data: tuple[Path, ...]) -> tuple[Sample, ...]:
    """The samples of several folders."""
    return tuple(sample for folder in data for sample in find_samples(folder))


def _measured(sample: Sample) -> HeldOut:
    labels = read_labels(str(sample.labels))
    sizes = areas(labels)[1:]
    return HeldOut(
        group=sample.group,
        name=sample.image.name.partition(".")[0],
        modality=sample.modality,
        image=str(sample.image),
        labels=str(sample.labels),
        megapixels=labels.size / 1e6,
        diameter=float(np.median(np.sqrt(sizes * (4.0 / np.pi)))) if len(sizes) else 0.0,
    )
