"""Quantize: the graph of a model in 8-bit integers, its ranges measured on real tiles.

    training images, balanced over groups -> segment -> what the network is given -> crops
    crops -> range of every activation -> weights per channel and activations as int8

The crops are what ``segment`` hands to the network while it segments the images, at the
zooms that it tries and uses.  Static quantization after Jacob et al. 2018, by onnxruntime;
the graph keeps pairs of quantizing and dequantizing nodes around its convolutions, which
both runtimes fuse into integer kernels.

A shortcut that was folded into its convolution (``networks.swift``) is taken out again
first.  Its ones among weights of a few hundredths would make the steps of int8 one to three
times as large as the weights themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import InputError, ModelError, SettingError
from anycell.files import open_image
from anycell.files.damage import replacing
from anycell.model import PRECISIONS, load_model, read_about, read_graph
from anycell.predictor import Predictor
from anycell.representations import Fields
from anycell.runtimes import STYLE, given, open_graph
from anycell.samples import Sample, find_samples
from anycell.segment import segment

__all__ = [
    "METHODS",
    "Quantization",
    "export_int8",
    "network_crops",
    "prepared",
    "quantize",
    "store_int8",
]

METHODS = ("minmax", "entropy", "percentile")
ACTIVATIONS = ("uint8", "int8")
PERCENTILE = 99.99
HALO = 128
"""Network pixels at least around a core in int8.  What the edge of a tile changes fades with the
distance, but rounding to 256 steps lifts it again: with 64 real tissue in tiles and in one piece
agreed in 98.3 % of the cells, with 128 in 99.5 % (docs/runtimes.md)."""
PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Tells onnxruntime that shapes are known already; else it logs advice."""


@dataclass(frozen=True)
class Quantization:
    """How a graph is quantized.

    Attributes
    ----------
    method : how a range is taken from the values seen: ``minmax``, ``entropy``
        (Migacz 2017) or ``percentile`` (99.99 % of them).
    activations : ``uint8`` or ``int8``.
    first, last : so many convolutions at the beginning and at the end stay float.
    apart : take shortcuts out of the convolutions that they were folded into.
    narrow : weights in 7 bits, whose products no processor saturates; without VNNI those of
        8 bits may.
    images : of each group that are segmented.
    crops : of each group that ranges are measured on.
    side : of a crop, network pixels.
    seed : of the choice of images and crops.
    """

    method: str = "percentile"
    activations: str = "uint8"
    first: int = 1
    last: int = 1
    apart: bool = True
    narrow: bool = False
    images: int = 3
    crops: int = 4
    side: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse names that are not known."""
        for what, value, known in (
            ("method", self.method, METHODS),
            ("activations", self.activations, ACTIVATIONS),
        ):
            if value not in known:
                raise SettingError(f"{what} {value!r}", expected=f"one of {', '.join(known)}")


class _Recorder:
    """A predictor that keeps the tiles that it is given."""

    def __init__(self, model: Predictor) -> None:
        self.tiles: list[NDArray[np.float32]] = []
        self.name, self.hash, self.representation = model.name, model.hash, model.representation
        self.halo, self.multiple, self.diameter = model.halo, model.multiple, model.diameter
        self.min_confidence, self.confidence_map = model.min_confidence, model.confidence_map
        self.style_size = model.style_size
        self._model = model

    def look(self, overview: NDArray[np.float32]) -> _Recorder:
        """Look at the whole image as the model does."""
        self._model.look(overview)
        return self

    def split(self, count: int) -> tuple[_Recorder, ...]:
        """Give itself alone: the tiles are to be kept in their order."""
        del count
        return (self,)

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the model's."""
        return self._model.style(tiles)

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        """Keep the tiles, and give the model's outputs."""
        self.tiles.extend(tiles)
        return self._model.outputs(tiles, style)


def network_crops(
    samples: Sequence[Sample], model: Predictor, plan: Quantization
) -> list[NDArray[np.float32]]:
    """Crops of what the network is given when images for training are segmented.

    Parameters
    ----------
    samples : those for training are used, the same number of each group; never those
        held out.

    Returns
    -------
    1 x 3 x side x side each, mirrored where an image is smaller.

    Raises
    ------
    InputError : no sample is for training.
    SettingError : a side that is no multiple of the model's.
    """
    groups: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.use == "train":
            groups[sample.group].append(sample)
    if not groups:
        raise InputError("no image to calibrate on", expected="samples whose use is train")
    if plan.side % model.multiple:
        raise SettingError(f"side {plan.side}", expected=f"a multiple of {model.multiple}")
    random = np.random.default_rng(plan.seed)
    crops: list[NDArray[np.float32]] = []
    for _, members in sorted(groups.items()):
        recorder = _Recorder(model)
        for k in random.choice(len(members), min(plan.images, len(members)), replace=False):
            segment(open_image(members[int(k)].image), recorder)
        tiles = recorder.tiles
        chosen = random.choice(len(tiles), min(plan.crops, len(tiles)), replace=False)
        crops += [_crop(tiles[int(k)], plan.side, random) for k in chosen]
    return crops


def _crop(tile: NDArray[np.float32], side: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Cut a square at random, mirrored where the tile is smaller."""
    beyond = [(0, max(0, side - size)) for size in tile.shape[1:]]
    tile = np.pad(tile, ((0, 0), *beyond), mode="symmetric")
    y, x = (int(random.integers(size - side + 1)) for size in tile.shape[1:])
    return tile[None, :, y : y + side, x : x + side]


def quantize(graph: bytes, crops: Sequence[NDArray[np.float32]], plan: Quantization) -> bytes:
    """Quantize the convolutions of a graph.

    Parameters
    ----------
    graph : an ONNX file whose input is called ``image``.
    crops : 1 x 3 x h x w each, all of one size, to measure ranges on.

    Raises
    ------
    ModelError : the graph has no convolution left to quantize.
    """
    import onnx
    from onnxruntime import quantization

    model = prepared(graph, apart=plan.apart)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    if plan.first + plan.last >= len(convolutions):
        raise ModelError(
            f"{len(convolutions)} convolutions, {plan.first + plan.last} of them to stay float",
            expected="one more at least",
        )
    kept = convolutions[: plan.first] + convolutions[len(convolutions) - plan.last :]
    kinds = {"uint8": quantization.QuantType.QUInt8, "int8": quantization.QuantType.QInt8}
    methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            path,
            _Reader(crops, _style_size(model)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=plan.narrow,
            activation_type=kinds[plan.activations],
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[methods[plan.method]],
            extra_options={"CalibPercentile": PERCENTILE} if plan.method == "percentile" else {},
        )
        made = onnx.load(path)
    made.graph.ClearField("value_info")
    onnx.checker.check_model(made)
    written: bytes = made.SerializeToString()
    return written


class _Reader:
    """Crops, one after the other, as onnxruntime asks for them."""

    def __init__(self, crops: Sequence[NDArray[np.float32]], style: int) -> None:
        self._rest = iter(crops)
        self._style = style

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Give the next crop, then None."""
        crop = next(self._rest, None)
        return None if crop is None else given(crop, None, self._style)


def _style_size(model: Any) -> int:
    """Values in the style that a graph takes, 0 if it takes none."""
    inputs = {value.name: value.type.tensor_type.shape for value in model.graph.input}
    return int(inputs[STYLE].dim[1].dim_value) if STYLE in inputs else 0


def prepared(graph: bytes, *, apart: bool) -> Any:
    """Read a graph as the same one with float32 weights.

    Parameters
    ----------
    apart : take shortcuts out: K x becomes k x + x where K = k + identity.

    Returns
    -------
    an ``onnx.ModelProto`` whose shapes are inferred.
    """
    import onnx

    model = onnx.load_from_string(graph)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            tensor = stored.pop(node.input[0])
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
            stored[node.output[0]] = tensor
            continue
        nodes.append(node)
        if apart and node.op_type == "Conv" and node.input[1] in stored:
            tensor = stored[node.input[1]]
            less = _less_identity(onnx.numpy_helper.to_array(tensor))
            if less is None:
                continue
            tensor.CopyFrom(onnx.numpy_helper.from_array(less, tensor.name))
            (out,) = node.output
            node.output[0] = f"{out}_less"
            inputs = [f"{out}_less", node.input[0]]
            nodes.append(onnx.helper.make_node("Add", inputs, [out], name=f"{node.name}_shortcut"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model = onnx.shape_inference.infer_shapes(model)
    model.metadata_props.add(key=PREPARED[0], value=PREPARED[1])
    return model


def _less_identity(kernel: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The kernel without the identity that was folded into it.

    None where there is none, or where its weights would not become smaller by it.
    """
    out, into, rows, columns = kernel.shape
    if out != into or (rows, columns) != (3, 3):
        return None
    own = np.arange(out)
    less = kernel.copy()
    less[own, own, 1, 1] -= 1.0
    before, after = (np.abs(k).max(axis=(1, 2, 3)).mean() for k in (kernel, less))
    return less if after < before else None


def export_int8(folder: Path, data: Path, plan: Quantization | None = None) -> None:
    """Add int8 to a model folder: graph, check and entry in model.json, and ship it.

    Parameters
    ----------
    folder : of a model; its float files stay as they are.
    data : training data as ``train`` takes it; only images for training are used.
    plan : how; by default as was found to serve best.

    Raises
    ------
    InputError : no images to calibrate on.
    ModelError : the folder is damaged.
    """
    plan = plan or Quantization()
    model = load_model(folder, precision="fp32")
    samples = find_samples(data)
    crops = network_crops(samples, model, plan)
    graph = quantize(read_graph(folder, read_about(folder), "fp32"), crops, plan)
    store_int8(folder, graph, plan, samples)


def store_int8(folder: Path, graph: bytes, plan: Quantization, samples: Sequence[Sample]) -> None:
    """Write an int8 graph into a model folder, with its check, and ship it.

    Parameters
    ----------
    graph : as ``quantize`` gave it.
    plan, samples : what it was made with, to be noted.

    Raises
    ------
    ModelError : the folder is damaged, or the graph does not do what it did.
    """
    about = read_about(folder)
    file, check, _ = PRECISIONS["int8"]
    with np.load(folder / PRECISIONS["fp32"][1], allow_pickle=False) as stored:
        image = stored["image"]
    outputs = open_graph(graph, "onnxruntime").run(image.astype(np.float32))
    about["precision"] = "int8"
    about["int8"] = {
        "sha256": hashlib.sha256(graph).hexdigest(),
        "halo": max(HALO, int(about["halo"])),
        "calibrated_on": sorted({s.group for s in samples if s.use == "train"}),
        "settings": asdict(plan),
    }
    with replacing(folder / file) as draft:
        draft.write_bytes(graph)
    np.savez_compressed(folder / check, image=image, outputs=outputs)
    with replacing(folder / "model.json") as draft:
        draft.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    load_model(folder, precision="int8")
