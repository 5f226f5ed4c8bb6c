"""Optimizers: steps of kernels are orthogonal, whatever their order in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from anycell.errors import ModelError, SettingError
from anycell.networks import network
from anycell.optimizers import Descent, _Muon32


def some_layers() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.PReLU(), nn.ConvTranspose2d(8, 4, 2)
    )


def learn(module: nn.Module, descent: Descent, steps: int = 1, rate: float = 0.01) -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        (module(images) - 1.0).square().mean().backward()
        descent.step(rate)


def moves(module: nn.Module, act: Callable[[], None]) -> dict[str, Tensor]:
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    act()
    return {name: p.detach() - before[name] for name, p in module.named_parameters()}


def test_muon_moves_kernels_alike_in_all_directions() -> None:
    module = some_layers()
    descent = Descent(module, "muon", 0.01, decay=0.0)
    moved = moves(module, lambda: learn(module, descent))
    for name in ("0.weight", "3.weight"):
        matrix = moved[name].flatten(1)
        sizes = torch.linalg.svdvals(matrix) / (0.01 * 0.2 * max(matrix.shape) ** 0.5)
        assert sizes.min() > 0.5, name  # five iterations bring 1 only near
        assert sizes.max() < 1.5, name
    for name in ("1.weight", "1.bias", "2.weight", "3.bias"):
        assert moved[name].abs().max() > 0.0, name


def test_adamw_moves_every_entry_by_the_rate_at_first() -> None:
    module = some_layers()
    moved = moves(module, lambda: learn(module, Descent(module, "adamw", 0.01, decay=0.0)))
    assert moved["0.weight"].abs().median().item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_the_order_of_kernels_in_memory_changes_no_step(name: str) -> None:
    plain, last = some_layers(), some_layers().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learn(plain, Descent(plain, name, 0.01, decay=0.1), steps=3)
    learn(last, Descent(last, name, 0.01, decay=0.1), steps=3)
    for one, other in zip(plain.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=2e-4)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_what_it_remembers_goes_on_exactly(name: str) -> None:
    whole, parts = some_layers(), some_layers()
    learn(whole, Descent(whole, name, 0.01, decay=0.1), steps=4)
    first = Descent(parts, name, 0.01, decay=0.1)
    learn(parts, first, steps=2)
    second = Descent(parts, name, 0.01, decay=0.1)
    second.load_state_dict(first.state_dict())
    learn(parts, second, steps=2)
    assert all(map(torch.equal, whole.parameters(), parts.parameters()))


def test_weight_decay_shrinks_kernels_only() -> None:
    module = some_layers()
    descent = Descent(module, "muon", 0.01, decay=0.5)
    sizes = [p.detach().norm() for p in module.parameters()]
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    descent.step(0.1)
    for p, size in zip(module.parameters(), sizes, strict=True):
        shrunk = 0.95 if p.ndim > 1 else 1.0
        assert p.detach().norm().item() == pytest.approx(shrunk * size.item(), rel=1e-5)


def test_another_optimizers_memory_is_refused() -> None:
    module = some_layers()
    descent = Descent(module, "muon", 0.01, decay=0.0)
    with pytest.raises(ModelError, match="adamw"):
        descent.load_state_dict(Descent(module, "adamw", 0.01, decay=0.0).state_dict())
    before_there_was_a_choice = torch.optim.AdamW(module.parameters()).state_dict()
    with pytest.raises(ModelError, match="optimizer=adamw"):
        descent.load_state_dict(before_there_was_a_choice)


def test_muon_in_32_bits_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    moved, states = [], []
    for quick in (True, False):
        monkeypatch.setattr("anycell.optimizers.has_bfloat16", lambda _, quick=quick: quick)
        module = some_layers()
        descent = Descent(module, "muon", 0.01, decay=0.1)
        moved.append(moves(module, lambda m=module, d=descent: learn(m, d, steps=3)))
        states.append(descent.state_dict()["parts"][1])
        assert type(descent._parts[1]) is (torch.optim.Muon if quick else _Muon32)
    for name, theirs in moved[0].items():
        assert torch.allclose(moved[1][name], theirs, atol=0.02 * float(theirs.abs().max())), name
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    # A run that began with one of them goes on with the other.
    descent.load_state_dict({"name": "muon", "parts": [descent._parts[0].state_dict(), states[0]]})


def test_an_unknown_optimizer_is_an_error() -> None:
    with pytest.raises(SettingError, match="muon"):
        Descent(some_layers(), "mu", 0.01, decay=0.0)


@pytest.mark.parametrize("name", ["swift", "unet", "unetr", "swinunetr"])
def test_every_network_can_be_moved(name: str) -> None:
    plan = network(name)
    module = plan.build(3, 3, 1)
    descent = Descent(module, "muon", 0.01, decay=0.0)
    side = max(64, plan.multiple)
    module(torch.rand(2, 3, side, side)).square().mean().backward()
    moved = moves(module, lambda: descent.step(0.01))
    still = [name for name, move in moved.items() if not move.any()]
    assert len(still) < 0.1 * len(moved), still
