"""Lessons: what a training learns from images that nobody labeled.

supervised     nothing; unlabeled images are not looked at
mean-teacher   some crops of a batch are unlabeled: the averaged model sees them as they
               are, and the trained one, which sees them changed, is to say the same
               (Tarvainen & Valpola 2017, NeurIPS)
parity         after a share of the steps the averaged model labels them, as far as it is
               to be believed (``pseudo``), and the rest of the steps learn from those too
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own docs use
from torch import Tensor

from anycell.methods import Recipe
from anycell.predictor import Predictor
from anycell.pseudo import write_pseudo_labels
from anycell.representations import LOGIT
from anycell.samples import Sample, find_samples

__all__ = ["consistency", "lesson_step", "pseudo_samples"]

RAMP = 0.3
"""Share of the steps over which the weight of the consistency rises."""


def consistency(outputs: Tensor, wanted: Tensor, step: int, recipe: Recipe) -> Tensor:
    """How far the outputs for changed images are from the averaged model's for plain ones.

    The weight rises as exp(-5 (1 - t)^2) over the first steps, as in the paper, so that a
    teacher who knows nothing yet is not believed.

    Parameters
    ----------
    outputs, wanted : n x planes x h x w.
    """
    t = min(1.0, step / max(1.0, RAMP * recipe.steps))
    weight = recipe.consistency * math.exp(-5.0 * (1.0 - t) ** 2)
    off = F.huber_loss(outputs.float().clamp(-LOGIT, LOGIT), wanted.float().clamp(-LOGIT, LOGIT))
    return weight * off


def lesson_step(recipe: Recipe) -> int:
    """The step after which ``parity`` makes its pseudo-labels."""
    return max(1, min(recipe.steps - 1, round(recipe.teach_at * recipe.steps)))


@torch.no_grad()
def pseudo_samples(
    samples: tuple[Sample, ...],
    teacher: Predictor,
    out: Path,
    report: Callable[[str], None],
) -> tuple[Sample, ...]:
    """Read the pseudo-labels in ``out``, or have the teacher make them first."""
    if not (out / "manifest.csv").is_file():
        unlabeled = sum(s.labels is None and s.use != "validate" for s in samples)
        report(f"labeling {unlabeled} unlabeled images as far as they are to be believed")
        believed, found = write_pseudo_labels(samples, teacher, out)
        report(f"{believed} of {found} cells believed; look at {out}")
    return tuple(s for s in find_samples(out) if s.cells > 0)
