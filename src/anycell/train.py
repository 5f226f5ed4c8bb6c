"""Training: crops in, an averaged model out, exact to resume.

The rate rises, stays, and falls over the last share of the steps, so a finished run can
be prolonged: give it more steps, and it goes on from where it was left.  A step's crops
depend on the seed and the step alone, so a run that was stopped goes on as if it had
not been.  Where the time is given instead, the rate falls over the last share of it.
What is written is listed in ``checkpoints``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anycell.augment import LOOKS, photometric
from anycell.batches import Batch, Batches, Cropping, stream
from anycell.checkpoints import State, add_curve, export_best, keep_best, resume, save, start
from anycell.devices import chosen_device, has_bfloat16, keep_memory
from anycell.errors import InputError, SettingError, unknown_name
from anycell.lessons import consistency, lesson_step, pseudo_samples
from anycell.methods import LEARNING, METHODS, Method, Recipe, method
from anycell.mixing import Mixing
from anycell.networks import Network, network
from anycell.representations import Representation, representation
from anycell.runs import cores, make_folder
from anycell.samples import Sample, find_samples, share_labels, without_groups
from anycell.unfold import measure_norms
from anycell.validation import TorchPredictor, Validation, validate

__all__ = ["TrainPlan", "Trained", "train"]


@dataclass(frozen=True)
class TrainPlan:
    """What to train, on what, and where to put it.

    Attributes
    ----------
    data : folders of samples; see ``anycell.samples``.
    out : folder for checkpoints, curves and the model; resumed when it holds a run.
    weights : a model of the same network and representation to begin with: its folder, its
        name, or a ``weights.safetensors``; None for random ones.  Not read when resumed.
    method : name in ``METHODS``.
    recipe : how; None for the method's own.
    learning : what is made of unlabeled images; None for the method's own.
    labels : share of the training images of each group whose labels are used, at least one
        image; the others count as unlabeled.
    skip : groups that are left out altogether.
    shares : groups that are drawn more or less often, and how many times as often.
    validate_every, save_every : steps between them; the last step does both.
    validate_images : images per group that a validation during training looks at.
    workers : processes that make crops.
    threads : of the network; 0 for one per core.
    device : ``auto``, ``cpu`` or ``cuda``.
    stop_after : seconds after which to save and stop, to go on later; None for never.
    within : seconds of training, in all, after which it is finished if its steps are not done
        before; the rate has fallen to zero by then.  None for no such limit.
    """

    data: tuple[Path, ...]
    out: Path
    method: str = "votes"
    weights: Path | None = None
    recipe: Recipe | None = None
    learning: str | None = None
    labels: float = 1.0
    skip: tuple[str, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    validate_every: int = 1000
    save_every: int = 250
    validate_images: int = 3
    workers: int = 1
    threads: int = 0
    device: str = "auto"
    stop_after: float | None = None
    within: float | None = None


@dataclass(frozen=True)
class Trained:
    """How a training ended: ``step`` of ``steps`` done, the best F1 and where it is."""

    step: int
    steps: int
    best: float
    folder: Path


def train(plan: TrainPlan, report: Callable[[str], None] = lambda line: None) -> Trained:
    """Train a method, or go on training it.

    Parameters
    ----------
    plan : see :class:`TrainPlan`.
    report : is called with a line of plain text now and then.

    Raises
    ------
    SettingError : the method is unknown, or has nothing to train, or ``within`` is no time.
    InputError : no labeled training samples.
    ModelError : ``out`` holds a run of another method or recipe.
    """
    made = method(plan.method)
    if made.network is None:
        trainable = [m.name for m in METHODS.values() if m.network is not None]
        raise SettingError(
            f"the method {made.name!r} is not trained", expected=f"one of {', '.join(trainable)}"
        )
    recipe = plan.recipe or made.recipe
    if plan.within is not None and not 0.0 < plan.within < float("inf"):
        raise SettingError(f"training within {plan.within:g} seconds", expected="above 0")
    torch.set_num_threads(plan.threads or cores())
    keep_memory()
    device = chosen_device(plan.device)
    torch.backends.cudnn.benchmark = True  # all crops have one size
    net, rep = network(made.network), representation(made.representation)
    learning = plan.learning or made.learning
    if learning not in LEARNING:
        raise unknown_name("learning", learning, LEARNING)
    if learning == "parity" and plan.within is not None:
        raise SettingError(
            "the learning 'parity' within a time",
            expected="a number of steps, after a share of which it makes its labels",
        )
    samples = tuple(s for folder in plan.data for s in find_samples(folder))
    samples = share_labels(without_groups(samples, plan.skip), plan.labels, recipe.seed)
    labeled = tuple(s for s in samples if s.teaches)
    if not labeled:
        raise InputError(
            f"no labeled training images in {', '.join(map(str, plan.data))}",
            expected="labels/ beside images/, or a manifest.csv whose column use says train",
        )
    make_folder(plan.out)
    state = start(made, recipe, device, plan.weights)
    parts = _Parts(made, net, rep, labeled, samples, learning, device)
    resume(state, plan.out, parts.run(plan, recipe))
    if _progress(state, plan, recipe) < 1.0:
        report(f"reading {len(labeled)} labeled images of {len({s.group for s in labeled})} groups")
        report(_held_out(samples))
        _loop(state, plan, recipe, parts, report)
    if state.best >= 0.0:
        export_best(plan.out, made)
    return Trained(state.step, recipe.steps, state.best, plan.out / "best")


@dataclass(frozen=True)
class _Parts:
    method: Method
    network: Network
    representation: Representation
    labeled: tuple[Sample, ...]
    samples: tuple[Sample, ...]
    learning: str
    device: torch.device

    def run(self, plan: TrainPlan, recipe: Recipe) -> dict[str, Any]:
        """What a resumed run must have in common with this one."""
        facts = {"method": plan.method, "learning": self.learning, "labels": plan.labels}
        facts["skip"] = list(plan.skip)
        facts["shares"] = dict(plan.shares)
        return {**facts, **asdict(recipe)}


def _held_out(samples: Sequence[Sample]) -> str:
    """Which images the training is judged on, in words."""
    held = [sample.group for sample in samples if sample.use == "validate"]
    if not held:
        return "nothing is held out for validation"
    groups = ", ".join(f"{group} ({held.count(group)})" for group in sorted(set(held)))
    return f"held out for validation, images of each group: {groups}"


def _loop(
    state: State, plan: TrainPlan, recipe: Recipe, parts: _Parts, report: Callable[[str], None]
) -> None:
    """Step until the recipe's end, an interrupt, or ``stop_after``."""
    check = Validation.of(parts.samples, plan.validate_images)
    clock = _Pace(state, recipe.crops)
    report(f"training {plan.method} from step {state.step} to {recipe.steps} on {parts.device}")
    go_on = True
    while go_on and _progress(state, plan, recipe) < 1.0:
        batches, until = _batches(state, plan, recipe, parts, report)
        coming = stream(batches, (state.step, until, recipe.reuse), plan.workers, parts.device)
        try:
            for line in _stage(state, coming, plan, (recipe, parts, check, clock)):
                report(line)
            go_on = state.step == until
        except KeyboardInterrupt:
            report(f"interrupted at step {state.step}; the same command goes on from here")
            go_on = False
        save(state, plan.out, parts.run(plan, recipe))


def _stage(
    state: State,
    stream: Iterator[Batch],
    plan: TrainPlan,
    having: tuple[Recipe, _Parts, Validation, _Pace],
) -> Iterator[str]:
    """Take the steps of a stream of batches; yields what there is to report."""
    recipe, parts, check, clock = having
    for batch in stream:
        _step(state, batch, recipe, parts, _rate(state, plan, recipe))
        clock.note(state)
        last = _progress(state, plan, recipe) >= 1.0
        if last or state.step % plan.validate_every == 0:
            yield _judge(state, plan, recipe, parts, check)
        elif state.step % 100 == 0:
            yield f"step {state.step}: loss {state.recent:.4f}, {clock.pace(state)}"
        if last or state.step % plan.save_every == 0:
            save(state, plan.out, parts.run(plan, recipe))
        if last:
            return
        if plan.stop_after is not None and clock.seconds > plan.stop_after:
            return


class _Pace:
    """How long it has taken, this time and in all."""

    def __init__(self, state: State, crops: int) -> None:
        self.began = self.last = time.monotonic()
        self.before, self.first, self.crops = state.seconds, state.step, crops

    @property
    def seconds(self) -> float:
        """Seconds since this time's start."""
        return time.monotonic() - self.began

    def note(self, state: State) -> None:
        """Note the seconds in all."""
        state.seconds = self.before + self.seconds

    def pace(self, state: State) -> str:
        """Crops a second since this was last asked."""
        now = time.monotonic()
        rate = (state.step - self.first) * self.crops / max(1e-9, now - self.last)
        self.first, self.last = state.step, now
        return f"{rate:.1f} crops/s"


def _batches(
    state: State, plan: TrainPlan, recipe: Recipe, parts: _Parts, report: Callable[[str], None]
) -> tuple[Batches, int]:
    """What to learn from next, and the step until which."""
    labeled, until = parts.labeled, recipe.steps
    unlabeled: tuple[Sample, ...] = ()
    if parts.learning == "mean-teacher":
        unlabeled = tuple(s for s in parts.samples if s.labels is None and s.use != "validate")
        if not unlabeled:
            raise InputError(
                "no unlabeled images, which mean-teacher learns from",
                expected="images without labels beside them, or --labels below 1",
            )
    elif parts.learning == "parity" and state.step < lesson_step(recipe):
        until = lesson_step(recipe)
    elif parts.learning == "parity":
        teacher = _predictor(state, recipe, parts)
        labeled += pseudo_samples(parts.samples, teacher, plan.out / "pseudo", report)
    free = recipe.free if unlabeled else 0.0
    cropping = Cropping(recipe.side, recipe.crops, recipe.typical, recipe.spread, free=free)
    mixing = Mixing(recipe.cutmix, recipe.transplant, recipe.amplitude)
    look = LOOKS[recipe.looks] if parts.device.type == "cpu" and recipe.reuse == 1 else None
    made = Batches(
        labeled,
        parts.representation,
        cropping,
        look,
        recipe.seed,
        unlabeled,
        mixing,
        dict(plan.shares),
    )
    return made, until


def _predictor(state: State, recipe: Recipe, parts: _Parts) -> TorchPredictor:
    """The averaged model."""
    return TorchPredictor(state.averaged, parts.network, parts.representation, recipe.typical)


def _step(state: State, batch: Batch, recipe: Recipe, parts: _Parts, rate: float) -> None:
    """One step: forward, backward, clip, update, average."""
    device = parts.device
    images = batch.images
    # Else the processes that cut the crops have done it.
    if device.type != "cpu" or recipe.reuse > 1:
        random = torch.Generator(device).manual_seed((recipe.seed << 32) + state.step)
        images = photometric(images, batch.labels, LOOKS[recipe.looks], random)
    images = images.contiguous(memory_format=torch.channels_last)
    if state.folded and state.step == 0:
        measure_norms(state.module, images)
        state.averaged.load_state_dict(state.module.state_dict())
    state.module.train()
    quick = has_bfloat16(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=quick):
        outputs = state.module(images)
    loss = parts.representation.loss(outputs, batch.targets, batch.weight)
    if len(batch.plain):
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=quick):
            wanted = state.averaged(batch.plain)
        loss = loss + consistency(outputs[-len(wanted) :], wanted, state.step, recipe)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.module.parameters(), recipe.clip)
    state.optimizer.step(rate)
    state.step += 1
    _average(state.averaged, state.module, min(recipe.memory, (1 + state.step) / (10 + state.step)))
    state.losses = [*state.losses[-199:], float(loss.detach())]


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, memory: float) -> None:
    """Move the averaged weights, and the norms' statistics, towards the module's."""
    new = module.state_dict()
    numbers = {k: v for k, v in averaged.state_dict().items() if v.is_floating_point()}
    torch._foreach_lerp_(list(numbers.values()), [new[k] for k in numbers], 1.0 - memory)
    for name, value in averaged.state_dict().items():
        if name not in numbers:
            value.copy_(new[name])


def _progress(state: State, plan: TrainPlan, recipe: Recipe) -> float:
    """Share of the training that is done: of its steps, or of its time where that is more."""
    timed = 0.0 if plan.within is None else state.seconds / plan.within
    return max(timed, state.step / recipe.steps)


def _rate(state: State, plan: TrainPlan, recipe: Recipe) -> float:
    """Rise, stay, fall linearly to zero."""
    rise = min(1.0, (state.step + 1) / max(1, recipe.warm_up))
    left = max(0.0, 1.0 - _progress(state, plan, recipe))
    fall = left / max(1.0 / recipe.steps, recipe.cool_down)
    return recipe.rate * min(rise, fall, 1.0)


def _judge(state: State, plan: TrainPlan, recipe: Recipe, parts: _Parts, check: Validation) -> str:
    """Validate the averaged model, write the curves, keep the best."""
    scores = validate(_predictor(state, recipe, parts), check)
    mean = sum(scores.values()) / max(1, len(scores))
    row = {
        "step": state.step,
        "crops": state.step * recipe.crops,
        "seconds": round(state.seconds),
        "loss": round(state.recent, 5),
        "rate": f"{_rate(state, plan, recipe):.3g}",
        "f1": round(mean, 4),
        "groups": json.dumps({g: round(v, 3) for g, v in scores.items()}),
    }
    add_curve(plan.out / "curves.csv", row)
    note = ""
    if mean > state.best or not scores:  # judged by nothing, the latest is the best
        state.best = mean
        about = {
            "method": plan.method,
            "recipe": asdict(recipe),
            "diameter": recipe.typical,
            "step": state.step,
            "trained_on": sorted({s.group for s in parts.labeled}),
            "images": len(parts.labeled),
            "learning": parts.learning,
            "label_share": plan.labels,
            "training_seconds": round(state.seconds),
            "validation": {"f1@0.5": scores, "images_per_group": plan.validate_images},
        }
        keep_best(state, plan.out, about)
        note = ", the best so far"
    return f"step {state.step}: loss {state.recent:.4f}, validation F1@0.5 {mean:.4f}{note}"
