"""Contract of every network in the table, and the folding of swift's blocks."""

from __future__ import annotations

import pytest

from anycell.errors import SettingError
from anycell.networks import NETWORKS, Network, network

torch = pytest.importorskip("torch")


@pytest.fixture(params=sorted(NETWORKS))
def net(request: pytest.FixtureRequest) -> Network:
    return network(request.param)


@pytest.mark.parametrize("stride", [1, 2])
def test_outputs_have_the_asked_channels_and_stride(net: Network, stride: int) -> None:
    module = net.build(3, 5, stride).eval()
    height, width = 2 * net.multiple, 3 * net.multiple
    with torch.inference_mode():
        out = module(torch.zeros(2, 3, height, width))
    assert out.shape == (2, 5, height // stride, width // stride)


def test_every_weight_learns(net: Network) -> None:
    module = net.build(3, 4, 2).train()
    images = torch.rand(2, 3, 2 * net.multiple, 2 * net.multiple)
    for _ in range(2):
        loss = module(images).square().mean()
        loss.backward()
        with torch.no_grad():
            for weight in module.parameters():
                weight.add_(0.01 * torch.randn_like(weight))
    still = [name for name, w in module.named_parameters() if w.grad is None or not w.grad.any()]
    assert still == []


def test_far_pixels_matter_no_more_than_reach_says(net: Network) -> None:
    torch.manual_seed(0)
    module = net.build(3, 2, 2).eval()
    side = 2 * (net.reach + net.multiple)
    side += -side % net.multiple
    image = torch.rand(1, 3, side, side)
    other = image.clone()
    middle = side // 2
    other[..., : middle - net.reach, :] = torch.rand(1, 3, middle - net.reach, side)
    with torch.inference_mode():
        here, there = module(image)[..., middle // 2, :], module(other)[..., middle // 2, :]
        near = module(image.roll(8, dims=2))[..., middle // 2, :]
    assert (here - there).abs().mean() < 0.2 * (here - near).abs().mean()


def test_folding_changes_nothing_but_the_number_of_layers() -> None:
    from anycell.networks.swift import Block, fold

    torch.manual_seed(1)
    module = network("swift").build(3, 9, 2)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2.0)
            torch.nn.init.uniform_(part.weight, 0.3, 1.2)
            torch.nn.init.normal_(part.bias)
    module.eval()
    folded = fold(module)
    assert not any(isinstance(part, Block | torch.nn.BatchNorm2d) for part in folded.modules())
    image = torch.rand(1, 3, 96, 64)
    with torch.inference_mode():
        difference = (module(image) - folded(image)).abs().max()
        assert difference < 1e-4 * module(image).abs().max()


def test_a_stride_that_no_head_has_is_an_error(net: Network) -> None:
    with pytest.raises(SettingError, match="1 or 2"):
        net.build(3, 9, 4)


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(SettingError, match="swift"):
        network("swit")
