"""Optimizers: how a gradient becomes a step.

muon     kernels move by the orthogonal matrix nearest to their averaged gradient, so that
         all directions of a kernel learn alike (Jordan et al. 2024, "Muon: an optimizer
         for hidden layers in neural networks"); scaled so that one rate serves both
         optimizers (Liu et al. 2025, arXiv:2502.16982).  What is no matrix, and the
         tables of transformers, moves by AdamW.
adamw    everything moves by AdamW (Loshchilov & Hutter 2019, ICLR)

Muon is torch's own, which knows matrices only: it is given the kernels as views, one row
for each output channel.  It computes in 16 bits; processors that are slower at those than at
32 get a Muon in 32 bits, whose steps differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anycell.devices import has_bfloat16
from anycell.errors import ModelError, unknown_name
from anycell.methods import OPTIMIZERS

__all__ = ["Descent"]

MATRICES = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
MOMENTUM = 0.95


class Descent:
    """Moves the parameters of a module.

    Parameters
    ----------
    module : its convolutions are in the order of memory that they will keep.
    name : one of ``OPTIMIZERS``.
    rate : learning rate.
    decay : weight decay of everything that has more than one dimension.

    Raises
    ------
    SettingError : no such optimizer.
    """

    def __init__(self, module: nn.Module, name: str, rate: float, decay: float) -> None:
        if name not in OPTIMIZERS:
            raise unknown_name("optimizer", name, OPTIMIZERS)
        kernels = _kernels(module) if name == "muon" else []
        rest = [p for p in module.parameters() if not any(p is kernel for kernel in kernels)]
        groups = [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.name = name
        self._kernels = [(kernel, nn.Parameter(_rows(kernel.detach()))) for kernel in kernels]
        self._parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=rate)]
        if kernels:
            views = [view for _, view in self._kernels]
            muon = torch.optim.Muon if has_bfloat16(kernels[0].device) else _Muon32
            self._parts.append(
                muon(
                    views,
                    lr=rate,
                    weight_decay=decay,
                    momentum=MOMENTUM,
                    adjust_lr_fn="match_rms_adamw",
                )
            )

    def step(self, rate: float) -> None:
        """Move by the gradients at a learning rate, and forget them."""
        for kernel, view in self._kernels:
            view.grad = None if kernel.grad is None else _rows(kernel.grad)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad(set_to_none=True)
        for kernel, _ in self._kernels:
            kernel.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, to be saved."""
        return {"name": self.name, "parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what another one remembered.

        Raises
        ------
        ModelError : it was of another kind.
        """
        # Checkpoints of before there was a choice hold the state of AdamW alone.
        saved = state if "parts" in state else {"name": "adamw", "parts": [state]}
        if saved["name"] != self.name:
            raise ModelError(
                f"a checkpoint of the optimizer {saved['name']!r}",
                expected=f"one of {self.name!r}",
                hint=f"--recipe optimizer={saved['name']}",
            )
        for part, content in zip(self._parts, saved["parts"], strict=True):
            part.load_state_dict(content)


class _Muon32(torch.optim.Muon):
    """torch's Muon, its matrices made orthogonal in 32 bits; the same state to save."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move by the gradients; ``closure`` is what torch's optimizers may be given."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(kernel.grad)
                mean = state["momentum_buffer"].lerp_(kernel.grad, 1.0 - momentum)
                move = _orthogonal(kernel.grad.lerp(mean, momentum), group)
                scale = 0.2 * max(kernel.shape) ** 0.5  # "match_rms_adamw"
                kernel.mul_(1.0 - rate * group["weight_decay"]).add_(move, alpha=-rate * scale)
        return loss


def _orthogonal(matrix: Tensor, group: dict[str, Any]) -> Tensor:
    """Bring all singular values near 1, by Newton and Schulz's iteration of the fifth order."""
    a, b, c = group["ns_coefficients"]
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(group["eps"])
    for _ in range(group["ns_steps"]):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def _kernels(module: nn.Module) -> list[Tensor]:
    """The kernels of convolutions and linear layers."""
    return [part.weight for part in module.modules() if isinstance(part, MATRICES)]


def _rows(kernel: Tensor) -> Tensor:
    """A kernel as a matrix, one row for each entry of its first dimension.

    Columns are in the order of memory, so that it is a view of channels-last kernels too;
    the step does not depend on their order.
    """
    last = kernel.ndim == 4 and kernel.is_contiguous(memory_format=torch.channels_last)
    return (kernel.permute(0, 2, 3, 1) if last else kernel).reshape(len(kernel), -1)
