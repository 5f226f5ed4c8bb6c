"""What a training leaves behind: state to resume, curves to look at, the best weights.

OUT/last.pt                     weights, averaged weights, optimizer, step
OUT/curves.csv, curves.png      one row per validation
OUT/best/weights.safetensors    the best averaged weights so far, with about.json
OUT/best/model.onnx ...         the model folder made of them when training stops
"""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anycell.curves import plot_curves
from anycell.errors import ModelError
from anycell.export import export_model
from anycell.methods import Method, Recipe
from anycell.model import model_folder
from anycell.networks import network
from anycell.optimizers import Descent
from anycell.representations import representation
from anycell.unfold import graph_weights, unfold

__all__ = ["State", "add_curve", "export_best", "keep_best", "resume", "save", "start"]

CURVES = ("step", "crops", "seconds", "loss", "rate", "f1", "groups")
FREE = frozenset({"steps", "cool_down", "rate", "warm_up"})
"""Settings of a recipe that a resumed run may change."""


@dataclass
class State:
    """What changes during training, and is saved.

    ``folded`` weights come from an exported graph: their norms are still to be measured.
    """

    module: nn.Module
    averaged: nn.Module
    optimizer: Descent
    step: int = 0
    best: float = -1.0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    folded: bool = False

    @property
    def recent(self) -> float:
        """Mean loss of the last steps."""
        return sum(self.losses) / max(1, len(self.losses))


def start(
    method: Method, recipe: Recipe, device: torch.device, weights: Path | None = None
) -> State:
    """Make untrained weights from the recipe's seed, or take those of a trained model.

    Parameters
    ----------
    weights : a ``weights.safetensors``, a model's folder, or the name of a bundled model.

    Raises
    ------
    ModelError : they cannot be read, or are of another method.
    SettingError : there is no such model.
    """
    torch.manual_seed(recipe.seed)
    module = _module(method)
    folded = weights is not None and _begin(module, weights)
    module = module.to(device)
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = Descent(module, recipe.optimizer, recipe.rate, recipe.decay)
    averaged = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
    return State(module, averaged, optimizer, folded=folded)


def _begin(module: nn.Module, weights: Path) -> bool:
    """Take the weights of a file or a model; True when they come from a folded graph."""
    if weights.is_file():
        _fill(module, weights)
        return False
    folder = model_folder(weights)
    if (folder / "weights.safetensors").is_file():
        _fill(module, folder / "weights.safetensors")
        return False
    unfold(module, graph_weights(folder / "model.onnx"), folder)
    return True


def _fill(module: nn.Module, path: Path) -> None:
    """Load weights from a safetensors file into a module."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{path} does not fill the network: {reason}",
            expected="the weights.safetensors of a training of the same method",
        ) from error


def _module(method: Method) -> nn.Module:
    rep = representation(method.representation)
    return network(str(method.network)).build(3, rep.channels, rep.stride)


def save(state: State, out: Path, run: dict[str, Any]) -> None:
    """Write the checkpoint beside its place, then move it there.

    Parameters
    ----------
    run : method, recipe and whatever else a resumed run must have in common with this one.
    """
    content = {
        "run": run,
        "module": state.module.state_dict(),
        "averaged": state.averaged.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best": state.best,
        "seconds": state.seconds,
        "losses": state.losses,
    }
    part = out / "last.part"
    torch.save(content, part)
    part.replace(out / "last.pt")


def resume(state: State, out: Path, run: dict[str, Any]) -> None:
    """Go on from ``last.pt`` if there is one.

    Raises
    ------
    ModelError : it cannot be read, or is of another method or recipe.
    """
    path = out / "last.pt"
    if not path.is_file():
        return
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different class for each kind of damage
        raise ModelError(
            f"{path} cannot be read: {error}", hint="delete it to start anew"
        ) from error
    if "run" not in saved:
        raise ModelError(
            f"{path} is of an older version of anycell",
            hint="begin anew with --weights and another output folder",
        )
    found = {**asdict(Recipe()), "optimizer": "adamw", "shares": {}, **saved["run"]}
    other = [
        f"{k} {found.get(k)} (asked: {v})"
        for k, v in run.items()
        if k not in FREE and found.get(k) != v
    ]
    if other:
        raise ModelError(
            f"{out} holds a run with {', '.join(other)}",
            expected=f"the same method and recipe; only {', '.join(sorted(FREE))} may differ",
            hint="another output folder",
        )
    state.module.load_state_dict(saved["module"])
    state.averaged.load_state_dict(saved["averaged"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.step, state.best = saved["step"], saved["best"]
    state.seconds, state.losses = saved["seconds"], list(saved["losses"])


def keep_best(state: State, out: Path, about: dict[str, Any]) -> None:
    """Store the averaged weights as the best so far, with what is known about them."""
    from safetensors.torch import save_file

    folder = out / "best"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in state.averaged.state_dict().items()}
    part = folder / "weights.part"
    save_file(weights, part)
    part.replace(folder / "weights.safetensors")
    (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def export_best(out: Path, method: Method) -> Path:
    """Make the model folder of the best weights; give its path.

    Raises
    ------
    ModelError : no weights were kept in ``out``.
    """
    folder = out / "best"
    if not (folder / "weights.safetensors").is_file():
        raise ModelError(
            f"no best weights in {folder}", expected="a training that has validated at least once"
        )
    module = _module(method)
    _fill(module, folder / "weights.safetensors")
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    export_model(
        module, network(str(method.network)), representation(method.representation), about, folder
    )
    return folder


def add_curve(path: Path, row: dict[str, Any]) -> None:
    """Add a row, dropping rows of a future that a resumed run has not reached again."""
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
