"""Write a trained network as a model folder (see ``anycell.model``)."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from anycell.errors import ModelError
from anycell.model import FORMAT, load_model
from anycell.networks import Network
from anycell.networks.swift import fold
from anycell.representations import Representation
from anycell.runtimes import FIELDS, IMAGE, OWN, STYLE

__all__ = ["LARGEST_RADIUS", "export_model", "least_confidence"]

CHECK_SIDE = 64
MIN_CONFIDENCE = {"votes": 0.15}
"""Of representations whose confidence has a meaning of its own; of all others 0.25.  Chosen on
held-out and training groups: cells below it cost more than they bring."""
WORTH_HALVING = 256
LARGEST_RADIUS = 32
"""Network pixels; cells are brought to a size below this radius (see ``methods.Recipe``)."""


def least_confidence(representation: Representation) -> float:
    """The confidence below which cells of a representation are dropped by default."""
    return MIN_CONFIDENCE.get(representation.name, 0.25)


def export_model(
    module: nn.Module,
    network: Network,
    representation: Representation,
    about: dict[str, Any],
    folder: Path,
) -> None:
    """Export to ONNX, store a check, write what is known, and load it once to be sure.

    Parameters
    ----------
    module : the trained torch module, on any device.
    about : entries for model.json beyond those written here (method, data, scores).
    folder : is made if needed; its model files are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = fold(module.cpu()).float()
    for weights in plain.parameters():
        weights.data = weights.data.contiguous()
    graph = _halved(_onnx(plain, network.multiple))
    (folder / "model.onnx").write_bytes(graph)
    image = np.random.default_rng(0).uniform(0, 1, (1, 3, CHECK_SIDE, CHECK_SIDE))
    image = image.astype(np.float16)
    with torch.inference_mode():
        outputs = plain(torch.from_numpy(image.astype(np.float32))).numpy()
    np.savez_compressed(folder / "check.npz", image=image, outputs=outputs.astype(np.float32))
    entries = {
        "format": FORMAT,
        "sha256": hashlib.sha256(graph).hexdigest(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": {"name": network.name, "settings": _settings(network)},
        "representation": {"name": representation.name, "settings": _settings(representation)},
        "parameters": sum(p.numel() for p in module.parameters()),
        "multiple": network.multiple,
        "halo": network.reach + LARGEST_RADIUS,
        "min_confidence": least_confidence(representation),
        **about,
    }
    (folder / "model.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    load_model(folder)


def _settings(part: object) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(part).items()}


def _onnx(module: nn.Module, multiple: int) -> bytes:
    """Export with any number of tiles of any sides that are a multiple of ``multiple``."""
    inputs = [torch.zeros(2, 3, 4 * multiple, 5 * multiple)]
    if style := getattr(module, "style_size", 0):
        inputs.append(torch.full((2, style), torch.nan))
    names = len(inputs)
    # The exporter warns of functions of torch's own and of torchvision's absence.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    tiles, rows, columns = (torch.export.Dim(name) for name in ("tiles", "rows", "columns"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", ".*axis name: tiles.*", UserWarning)  # that of both
        program = torch.onnx.export(
            module,
            tuple(inputs),
            dynamo=True,
            input_names=[IMAGE, STYLE][:names],
            output_names=[FIELDS, OWN][:names],
            dynamic_shapes=({0: tiles, 2: multiple * rows, 3: multiple * columns}, {0: tiles})[
                :names
            ],
            opset_version=18,
            verbose=False,
        )
    if program is None:
        raise ModelError("torch exported no graph", hint="pip install torch==2.13.0")
    graph: bytes = program.model_proto.SerializeToString()
    return graph


def _halved(graph: bytes) -> bytes:
    """Store large weights as float16 behind a cast, which onnxruntime folds on load."""
    import onnx

    model = onnx.load_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < WORTH_HALVING:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(
            onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    _forget(model.graph)
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


def _forget(graph: Any) -> None:
    """Drop what the exporter noted of this machine: the stack trace of every node."""
    graph.ClearField("metadata_props")
    for part in (*graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
