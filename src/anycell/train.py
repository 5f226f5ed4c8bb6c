"""Training: crops in, an averaged model out, exact to resume.

    OUT/last.pt        weights, averaged weights, optimizer, step: all that resuming needs
    OUT/curves.csv     one row per validation; curves.png beside it
    OUT/best/          the model folder of the best averaged weights by validation F1
    OUT/run.json       what was asked for

The rate rises, stays, and falls over the last share of the steps, so a finished run can
be prolonged: resume ``last.pt`` with more steps.  A step's crops depend on the seed and
the step alone, so a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import copy
import csv
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anycell.augment import Photometry
from anycell.batches import Batch, Batches, Cropping
from anycell.errors import InputError, ModelError, SettingError
from anycell.export import export_model
from anycell.methods import METHODS, Recipe, method
from anycell.networks import Network, network
from anycell.representations import Representation, representation
from anycell.samples import Sample, find_samples
from anycell.validation import Validation, validate

__all__ = ["TrainPlan", "Trained", "train"]

CURVES = ("step", "crops", "seconds", "loss", "rate", "f1", "groups")


@dataclass(frozen=True)
class TrainPlan:
    """What to train, on what, and where to put it.

    Attributes
    ----------
    data : folders of samples; see ``anycell.samples``.
    out : folder for checkpoints, curves and the model; resumed when it holds a run.
    method : name in ``METHODS``.
    recipe : how; None for the method's own.
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
    recipe: Recipe | None = None
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


@dataclass
class _State:
    """What changes during training, and is saved."""

    module: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = -1.0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


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
    torch.set_num_threads(plan.threads or len(os.sched_getaffinity(0)))
    _keep_memory()
    device = _device(plan.device)
    net, rep = network(made.network), representation(made.representation)
    samples = tuple(s for folder in plan.data for s in find_samples(folder))
    labeled = tuple(s for s in samples if s.use == "train" and s.labels is not None)
    if not labeled:
        raise InputError(
            f"no labeled training images in {', '.join(map(str, plan.data))}",
            expected="labels/ beside images/, or a manifest.csv whose column use says train",
        )
    plan.out.mkdir(parents=True, exist_ok=True)
    state = _start(net, rep, recipe, device)
    _resume(state, plan, recipe)
    if state.step < recipe.steps:
        report(f"reading {len(labeled)} labeled images of {len({s.group for s in labeled})} groups")
        _loop(state, plan, recipe, _Parts(net, rep, labeled, samples, device), report)
    return Trained(state.step, recipe.steps, state.best, plan.out / "best")


@dataclass(frozen=True)
class _Parts:
    network: Network
    representation: Representation
    labeled: tuple[Sample, ...]
    samples: tuple[Sample, ...]
    device: torch.device


def _loop(
    state: _State, plan: TrainPlan, recipe: Recipe, parts: _Parts, report: Callable[[str], None]
) -> None:
    """Step until the recipe's end, an interrupt, or ``stop_after``."""
    cropping = Cropping(recipe.side, recipe.crops, (recipe.smallest, recipe.largest))
    batches = Batches(parts.labeled, parts.representation, cropping, Photometry(), recipe.seed)
    check = Validation.of(parts.samples, plan.validate_images)
    began, before, first = time.monotonic(), state.seconds, state.step
    report(f"training {plan.method} from step {state.step} to {recipe.steps} on {parts.device}")
    try:
        for batch in _stream(batches, state.step, recipe.steps, plan.workers):
            _step(state, batch, recipe, parts)
            state.seconds = before + time.monotonic() - began
            last = state.step == recipe.steps
            if last or state.step % plan.validate_every == 0:
                report(_judge(state, plan, recipe, parts, check))
            elif state.step % 100 == 0:
                pace = (state.step - first) * recipe.crops / (time.monotonic() - began)
                report(f"step {state.step}: loss {_recent(state):.4f}, {pace:.1f} crops/s")
            if last or state.step % plan.save_every == 0:
                _save(state, plan, recipe)
            if plan.stop_after is not None and time.monotonic() - began > plan.stop_after:
                break
    except KeyboardInterrupt:
        report(f"interrupted at step {state.step}; the same command goes on from here")
    _save(state, plan, recipe)


def _step(state: _State, batch: Batch, recipe: Recipe, parts: _Parts) -> None:
    """One step: forward, backward, clip, update, average."""
    device = parts.device
    images = batch.images.to(device, non_blocking=True).contiguous(
        memory_format=torch.channels_last
    )
    for group in state.optimizer.param_groups:
        group["lr"] = _rate(state.step, recipe)
    state.module.train()
    with torch.autocast(device.type, torch.bfloat16, enabled=_has_bfloat16(device)):
        outputs = state.module(images)
    loss = parts.representation.loss(outputs, batch.targets.to(device), batch.weight.to(device))
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(state.module.parameters(), recipe.clip)
    state.optimizer.step()
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


def _judge(state: _State, plan: TrainPlan, recipe: Recipe, parts: _Parts, check: Validation) -> str:
    """Validate the averaged model, write the curves, keep the best."""
    scores = validate(state.averaged, parts.network, parts.representation, check)
    mean = sum(scores.values()) / max(1, len(scores))
    row = {
        "step": state.step,
        "crops": state.step * recipe.crops,
        "seconds": round(state.seconds),
        "loss": round(_recent(state), 5),
        "rate": f"{_rate(state.step - 1, recipe):.3g}",
        "f1": round(mean, 4),
        "groups": json.dumps({g: round(v, 3) for g, v in scores.items()}),
    }
    _add_curve(plan.out / "curves.csv", row)
    note = ""
    if mean > state.best:
        state.best = mean
        about = {
            "method": plan.method,
            "recipe": asdict(recipe),
            "step": state.step,
            "trained_on": sorted({s.group for s in parts.labeled}),
            "images": len(parts.labeled),
            "validation": {"f1@0.5": scores, "images_per_group": plan.validate_images},
        }
        module = copy.deepcopy(state.averaged)
        export_model(module, parts.network, parts.representation, about, plan.out / "best")
        note = ", the best so far"
    return f"step {state.step}: loss {_recent(state):.4f}, validation F1@0.5 {mean:.4f}{note}"


def _add_curve(path: Path, row: dict[str, Any]) -> None:
    """Add a row, dropping rows of a future that a resumed run has not reached again."""
    from anycell.curves import plot_curves

    rows = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [r for r in csv.DictReader(file) if int(r["step"]) < row["step"]]
    rows.append({k: str(v) for k, v in row.items()})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CURVES)
        writer.writeheader()
        writer.writerows(rows)
    plot_curves(rows, path.with_suffix(".png"))


def _recent(state: _State) -> float:
    return sum(state.losses) / max(1, len(state.losses))


def _start(net: Network, rep: Representation, recipe: Recipe, device: torch.device) -> _State:
    """Untrained weights from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    module = net.build(3, rep.channels, rep.stride).to(device)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": weights, "weight_decay": recipe.decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.rate,
    )
    averaged = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
    return _State(module, averaged, optimizer)


def _save(state: _State, plan: TrainPlan, recipe: Recipe) -> None:
    """Write the checkpoint beside its place, then move it there."""
    path = plan.out / "last.pt"
    content = {
        "method": plan.method,
        "recipe": asdict(recipe),
        "module": state.module.state_dict(),
        "averaged": state.averaged.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best": state.best,
        "seconds": state.seconds,
        "losses": state.losses,
    }
    part = path.with_suffix(".part")
    torch.save(content, part)
    part.replace(path)


def _resume(state: _State, plan: TrainPlan, recipe: Recipe) -> None:
    """Go on from ``last.pt`` if there is one."""
    path = plan.out / "last.pt"
    if not path.is_file():
        return
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different class for each kind of damage
        raise ModelError(
            f"{path} cannot be read: {error}", hint="delete it to start anew"
        ) from error
    free = {"steps", "cool_down", "rate", "warm_up"}
    asked = {"method": plan.method, **{k: v for k, v in asdict(recipe).items() if k not in free}}
    found = {"method": saved["method"], **saved["recipe"]}
    other = [f"{k} {found[k]} (asked: {v})" for k, v in asked.items() if found[k] != v]
    if other:
        raise ModelError(
            f"{plan.out} holds a run with {', '.join(other)}",
            expected="the same method and recipe; steps and rate may differ",
            hint="another output folder",
        )
    state.module.load_state_dict(saved["module"])
    state.averaged.load_state_dict(saved["averaged"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.step, state.best = saved["step"], saved["best"]
    state.seconds, state.losses = saved["seconds"], list(saved["losses"])


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
