"""Go on training from an exported graph: undo the folding of shortcuts and norms.

A folded block is one convolution, ReLU(K x + b).  It becomes ReLU(x + BN(k x)) again with
k = K less the shortcut and a batch norm that changes nothing.  Which mean and variance that
norm has is free as long as its scale and shift undo them; they are measured on images, so
that training, where the norm uses the batch's own statistics, begins where the graph ended.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anycell.errors import ModelError
from anycell.networks.swift import Block

__all__ = ["graph_weights", "measure_norms", "unfold"]

HALF = "_half"


def graph_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the weights of a ``model.onnx`` by their names in the folded module.

    Raises
    ------
    ModelError : the file cannot be read as an ONNX graph.
    """
    import onnx

    try:
        graph = onnx.load_from_string(path.read_bytes()).graph
    except Exception as error:  # a missing file, or protobuf's own classes of damage
        raise ModelError(
            f"{path} cannot be read: {error}", expected="the model.onnx of a model folder"
        ) from error
    return {
        tensor.name.removesuffix(HALF): onnx.numpy_helper.to_array(tensor).astype(np.float32)
        for tensor in graph.initializer
    }


@torch.no_grad()
def unfold(module: nn.Module, weights: dict[str, NDArray[np.float32]], source: Path) -> None:
    """Fill a module so that it computes what the folded graph does.

    Raises
    ------
    ModelError : the graph lacks a weight, or has one of another shape.
    """
    blocks = {name: child for name, child in module.named_modules() if isinstance(child, Block)}
    for name, block in blocks.items():
        kernel = _get(weights, f"{name}.conv.weight", block.conv.weight, source)
        if block.shortcut:
            own = torch.arange(len(kernel))
            kernel[own, own, 1, 1] -= 1.0
        block.conv.weight.copy_(kernel)
        norm = block.norm
        norm.reset_running_stats()
        norm.weight.fill_(float(np.sqrt(1.0 + norm.eps)))
        norm.bias.copy_(_get(weights, f"{name}.conv.bias", norm.bias, source))
    inside = tuple(f"{name}." for name in blocks)
    for name, value in module.named_parameters():
        if not name.startswith(inside):
            value.copy_(_get(weights, name, value, source))


def _get(weights: dict[str, NDArray[np.float32]], name: str, like: Tensor, source: Path) -> Tensor:
    found = weights.get(name)
    if found is None or found.shape != tuple(like.shape):
        raise ModelError(
            f"{source} has {'no' if found is None else found.shape} weights {name!r}",
            expected=f"{tuple(like.shape)}: a model of the same network and representation",
        )
    return torch.from_numpy(found.copy())


@torch.no_grad()
def measure_norms(module: nn.Module, images: Tensor) -> None:
    """Set the statistics of all norms to those of some images; the outputs stay the same.

    Parameters
    ----------
    images : n x 3 x H x W, augmented as in training.
    """
    for block in (m for m in module.modules() if isinstance(m, Block)):
        seen: list[Tensor] = []
        watch = block.conv.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out))
        was = module.training
        module.eval()(images)
        module.train(was)
        watch.remove()
        _renorm(block.norm, seen[0])


def _renorm(norm: nn.BatchNorm2d, out: Tensor) -> None:
    """Give a norm new statistics, and the scale and shift that make up for them."""
    mean_before, var_before = norm.running_mean, norm.running_var
    if mean_before is None or var_before is None:
        raise ModelError("a norm without running statistics", expected="a trained network")
    var, mean = torch.var_mean(out.float(), dim=(0, 2, 3))
    scale = norm.weight / torch.sqrt(var_before + norm.eps)
    norm.bias.add_((mean - mean_before) * scale)
    norm.weight.copy_(scale * torch.sqrt(var + norm.eps))
    mean_before.copy_(mean)
    var_before.copy_(var)
