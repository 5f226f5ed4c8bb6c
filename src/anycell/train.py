"""Training: crops in, an averaged model out, exact to resume.

The rate rises, stays, and falls over the last share of the steps, so a finished run can
be prolonged: give it more steps, and it goes on from where it was left.  A step's crops
depend on the seed and the step alone, so a run that was stopped goes on as if it had
not been.  What is written is listed in ``checkpoints``.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anycell.augment import Photometry, photometric
from anycell.batches import Batch, Batches, Cropping
from anycell.checkpoints import State, add_curve, export_best, keep_best, resume, save, start
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
    validate_every, save_every : steps between them; the last step does both.
    validate_images : images per group that a validation during training looks at.
    workers : processes that make crops.
    threads : of the network; 0 for one per core.
    device : ``auto``, ``cpu`` or ``cuda``.
    stop_after : seconds after which to save and stop, to go on later; None for never.
    """

    data: tuple[Path, ...]
    out: Path
    method: str = "votes"
    weights: Path | None = None
    recipe: Recipe | None = None
    learning: str | None = None
    labels: float = 1.0
    skip: tuple[str, ...] = ()
    validate_every: int = 1000
    save_every: int = 250
    validate_images: int = 3
    workers: int = 1
    threads: int = 0
    device: str = "auto"
    stop_after: float | None = None


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
    SettingError : the method is unknown, or has nothing to train.
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
    torch.set_num_threads(plan.threads or cores())
    _keep_memory()
    device = _device(plan.device)
    net, rep = network(made.network), representation(made.representation)
    learning = plan.learning or made.learning
    if learning not in LEARNING:
        raise unknown_name("learning", learning, LEARNING)
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
    if state.step < recipe.steps:
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
    while go_on and state.step < recipe.steps:
        batches, until = _batches(state, plan, recipe, parts, report)
        stream = _stream(batches, state.step, until, plan.workers)
        try:
            for line in _stage(state, stream, plan, (recipe, parts, check, clock)):
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
        _step(state, batch, recipe, parts)
        clock.note(state)
        last = state.step == recipe.steps
        if last or state.step % plan.validate_every == 0:
            yield _judge(state, plan, recipe, parts, check)
        elif state.step % 100 == 0:
            yield f"step {state.step}: loss {state.recent:.4f}, {clock.pace(state)}"
        if last or state.step % plan.save_every == 0:
            save(state, plan.out, parts.run(plan, recipe))
        if plan.stop_after is not None and clock.seconds > plan.stop_after:
            return


class _Pace:
    """How long it has taken, this time and in all."""

    def __init__(self, state: State, crops: int) -> None:
        self.began = time.monotonic()
        self.before, self.first, self.crops = state.seconds, state.step, crops

    @property
    def seconds(self) -> float:
        """Seconds since this time's start."""
        return time.monotonic() - self.began

    def note(self, state: State) -> None:
        """Note the seconds in all."""
        state.seconds = self.before + self.seconds

    def pace(self, state: State) -> str:
        """Crops a second, this time."""
        return f"{(state.step - self.first) * self.crops / self.seconds:.1f} crops/s"


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
    look = Photometry() if parts.device.type == "cpu" else None
    made = Batches(labeled, parts.representation, cropping, look, recipe.seed, unlabeled, mixing)
    return made, until


def _predictor(state: State, recipe: Recipe, parts: _Parts) -> TorchPredictor:
    """The averaged model."""
    return TorchPredictor(state.averaged, parts.network, parts.representation, recipe.typical)


def _step(state: State, batch: Batch, recipe: Recipe, parts: _Parts) -> None:
    """One step: forward, backward, clip, update, average."""
    device = parts.device
    images = batch.images.to(device, non_blocking=True)
    if device.type != "cpu":  # there the processes that cut the crops do it
        random = torch.Generator(device).manual_seed((recipe.seed << 32) + batch.step)
        images = photometric(images, batch.labels.to(device), Photometry(), random)
    images = images.contiguous(memory_format=torch.channels_last)
    if state.folded and state.step == 0:
        measure_norms(state.module, images)
        state.averaged.load_state_dict(state.module.state_dict())
    state.module.train()
    quick = _has_bfloat16(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=quick):
        outputs = state.module(images)
    loss = parts.representation.loss(outputs, batch.targets.to(device), batch.weight.to(device))
    if len(batch.plain):
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=quick):
            wanted = state.averaged(batch.plain.to(device))
        loss = loss + consistency(outputs[-len(wanted) :], wanted, state.step, recipe)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.module.parameters(), recipe.clip)
    state.optimizer.step(_rate(state.step, recipe))
    state.step += 1
    _average(state.averaged, state.module, min(recipe.memory, (1 + state.step) / (10 + state.step)))
    state.losses = [*state.losses[-199:], float(loss.detach())]


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, memory: float) -> None:
    """Move the averaged weights, and the norms' statistics, towards the module's."""
    new = module.state_dict()
    for name, value in averaged.state_dict().items():
        if value.is_floating_point():
            value.lerp_(new[name], 1.0 - memory)
        else:
            value.copy_(new[name])


def _rate(step: int, recipe: Recipe) -> float:
    """Rise, stay, fall linearly to zero."""
    rise = min(1.0, (step + 1) / max(1, recipe.warm_up))
    fall = (recipe.steps - step) / max(1.0, recipe.cool_down * recipe.steps)
    return recipe.rate * min(rise, fall, 1.0)


def _stream(batches: Batches, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """Batches in order, made ahead by worker processes."""
    steps = torch.utils.data.Subset(batches, range(start, stop))
    loader: Iterator[Batch] = iter(
        torch.utils.data.DataLoader(
            steps,
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_alone,
        )
    )
    return loader


def _alone(worker: int) -> None:
    """Each worker process keeps to one thread."""
    del worker
    torch.set_num_threads(1)


def _judge(state: State, plan: TrainPlan, recipe: Recipe, parts: _Parts, check: Validation) -> str:
    """Validate the averaged model, write the curves, keep the best."""
    scores = validate(_predictor(state, recipe, parts), check)
    mean = sum(scores.values()) / max(1, len(scores))
    row = {
        "step": state.step,
        "crops": state.step * recipe.crops,
        "seconds": round(state.seconds),
        "loss": round(state.recent, 5),
        "rate": f"{_rate(state.step - 1, recipe):.3g}",
        "f1": round(mean, 4),
        "groups": json.dumps({g: round(v, 3) for g, v in scores.items()}),
    }
    add_curve(plan.out / "curves.csv", row)
    note = ""
    if mean > state.best:
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


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise SettingError(f"device {name!r}", expected="auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingError("device 'cuda', but torch sees none", hint="--device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _keep_memory() -> None:
    """Keep freed memory for the next step instead of handing it back.

    Without this glibc maps and unmaps every large tensor; the page faults cost a
    quarter of a training step on a CPU.  Elsewhere than on glibc nothing is done.
    """
    if sys.platform != "linux" or not hasattr(c := ctypes.CDLL(None), "mallopt"):
        return
    trim_threshold, mmap_threshold = -1, -3  # names of these two in glibc's malloc.h
    c.mallopt(mmap_threshold, 32 * 2**20)
    c.mallopt(trim_threshold, 2**31 - 1)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether 16-bit arithmetic is quicker than 32-bit there."""
    return device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
