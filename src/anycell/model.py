"""Models: trained methods as folders of an ONNX graph and what is known about it.

    NAME/model.onnx      the network, shortcuts and norms folded, weights stored as float16
    NAME/check.npz       one input and the outputs it must give; compared on load
    NAME/model.json      format, method, settings, training data, scores, hashes of the graphs
    NAME/card.md         what it was made from and how good it is, for people (may be missing)

and, in a model that comes in 8-bit integers too (``anycell.quantize``),

    NAME/model_int8.onnx, NAME/check_int8.npz

Models need onnxruntime or openvino, never torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anycell.confidence import ConfidenceMap
from anycell.errors import ModelError, OutputError, SettingError, unknown_name
from anycell.files.damage import replacing
from anycell.representations import Fields, Representation, representation
from anycell.runs import make_folder
from anycell.runtimes import Runner, open_graph

if TYPE_CHECKING:
    from anycell.predictor import Predictor

__all__ = [
    "DEFAULT",
    "FORMAT",
    "PRECISIONS",
    "Model",
    "bundled",
    "check_difference",
    "copy_model",
    "default_model",
    "identity",
    "load_model",
    "model_folder",
    "precisions",
    "read_about",
    "read_graph",
]

FORMAT = 2
"""Of models whose graphs may take a style; those of format 1 take none, and are read too."""
FILE = "model.json"
CARD = "card.md"
DEFAULT = "general"
PRECISIONS: dict[str, tuple[str, str, float]] = {
    "fp32": ("model.onnx", "check.npz", 0.02),
    "int8": ("model_int8.onnx", "check_int8.npz", 0.1),
}
"""Precision -> file of the graph, file of its check, and how far the outputs may be from the
stored ones, as a share of the largest of them (at least of 1)."""


@dataclass(frozen=True)
class Model:
    """A trained network behind a runtime; a ``Predictor``.

    Attributes
    ----------
    name : the folder's name.
    hash : first 16 digits of the SHA-256 of the graph.
    representation : turns outputs into labels; its confidences are raw.
    halo : pixels around a tile's core that it must see.
    multiple : rows and columns of a tile must be a multiple of this.
    diameter : network pixels that cells had across in training, typically.
    min_confidence : cells below it are left out unless another limit is asked for; a
        chance, as ``confidence_map`` gives it.
    confidence_map : from raw confidences to chances.
    precision : fp32 or int8.
    about : everything else that model.json says.
    runner : computes the outputs.
    refused : why another precision than the one that model.json ships was taken, if so.
    """

    name: str
    hash: str
    representation: Representation
    halo: int
    multiple: int
    diameter: float
    min_confidence: float
    confidence_map: ConfidenceMap
    precision: str
    about: dict[str, Any] = field(repr=False)
    runner: Runner = field(repr=False)
    refused: str = ""

    def look(self, overview: NDArray[np.float32]) -> Model:
        """Look at the whole image, small; a network has nothing to learn from it."""
        del overview
        return self

    def split(self, count: int) -> tuple[Model, ...]:
        """Give ``count`` models that may be used side by side, each on one core."""
        return tuple(replace(self, runner=runner) for runner in self.runner.split(count))

    @property
    def style_size(self) -> int:
        """Values in a style; 0 if the network has none."""
        return self.runner.style_size

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the style of each of n x 3 x H x W normalized tiles."""
        return self.runner.style(tiles)

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        """Run the network: n x 3 x H x W normalized tiles to n x channels x h x w."""
        return self.runner.run(tiles, style)


def bundled() -> tuple[str, ...]:
    """Names of the models inside the package."""
    return tuple(sorted(p.parent.name for p in _weights().glob("*/model.json")))


def default_model() -> Predictor:
    """Load the model that ``segment`` uses when none is named."""
    return load_model(DEFAULT)


def load_model(
    name: str | Path, *, precision: str = "auto", runtime: str = "auto", threads: int = 0
) -> Predictor:
    """Load a model and check that it still computes what it did when it was made.

    Parameters
    ----------
    name : of a bundled model, ``classical``, or the path of a model's folder.
    precision : ``fp32``, ``int8``, or ``auto`` for the one that model.json ships; where this
        processor computes other outputs with int8 than were stored, ``auto`` takes fp32, and
        ``Model.refused`` says so.
    runtime : ``onnxruntime``, ``openvino``, or ``auto`` (see ``anycell.runtimes``).
    threads : of the runtime; 0 for one per core.

    Raises
    ------
    SettingError : no model, precision or runtime of that name.
    ModelError : damaged, incomplete, or of another format.
    """
    if name == "classical":
        return _classic(precision, runtime)
    folder = model_folder(name)
    about = read_about(folder)
    chosen = _chosen(folder, about, precision)
    try:
        return _checked(folder, _opened(folder, about, chosen, (runtime, threads)))
    except _OffError as error:
        if precision != "auto" or chosen == "fp32":
            raise
        model = _checked(folder, _opened(folder, about, "fp32", (runtime, threads)))
        return replace(model, refused=error.found)


class _OffError(ModelError):
    """The outputs are not the stored ones."""


def _opened(folder: Path, about: dict[str, Any], chosen: str, computed: tuple[str, int]) -> Model:
    """Open the graph of a precision, with a runtime and so many threads."""
    graph = read_graph(folder, about, chosen)
    to_chance = ConfidenceMap.of(about.get("confidence"))
    return Model(
        name=folder.resolve().name,
        hash=hashlib.sha256(graph).hexdigest()[:16],
        representation=representation(
            about["representation"]["name"], about["representation"]["settings"]
        ),
        halo=int((about if chosen == "fp32" else about[chosen]).get("halo", about["halo"])),
        multiple=int(about["multiple"]),
        diameter=float(about["diameter"]),
        min_confidence=to_chance.at(float(about.get("min_confidence", 0.0))),
        confidence_map=to_chance,
        precision=chosen,
        about=about,
        runner=open_graph(graph, *computed),
    )


def _checked(folder: Path, model: Model) -> Model:
    """Give the model if its outputs are the stored ones."""
    chosen = model.precision
    allowed = PRECISIONS[chosen][2]
    off = check_difference(model, folder)
    if not off <= allowed:
        raise _OffError(
            f"{folder}: the {chosen} network's outputs differ by {off:.2%} of the largest from"
            " the stored ones",
            expected=f"at most {allowed:.0%}",
            hint="--precision fp32" if chosen == "int8" else "pip install --upgrade onnxruntime",
        )
    return model


def identity(model: Predictor) -> dict[str, str]:
    """What to note of a model in run.json: name and hash, precision and runtime."""
    found = {"name": model.name, "hash": model.hash}
    if isinstance(model, Model):
        found |= {"precision": model.precision, "runtime": model.runner.runtime}
    return found


def model_folder(name: str | Path) -> Path:
    """Find the folder of a model by its path or, for one inside the package, its name.

    Raises
    ------
    SettingError : no such folder, and no model of that name.
    """
    folder = Path(name)
    packed = str(name) in bundled()
    if folder.is_dir() and ((folder / FILE).is_file() or not packed):
        return folder
    if not packed:
        raise unknown_name("model", str(name), (*bundled(), "classical", "PATH"))
    return _weights() / str(name)


def copy_model(name: str | Path, out: Path) -> None:
    """Copy a model's files into a folder, after loading it to see that it is whole.

    Raises
    ------
    SettingError : no such model.
    ModelError : it is damaged.
    OutputError : the folder cannot be written, or is the model's own.
    """
    folder = model_folder(name)
    if folder.resolve() == out.resolve():
        raise OutputError(f"{out} is the model itself", expected="another folder after -o")
    load_model(folder, precision="fp32")
    files = [FILE, CARD, *(file for row in PRECISIONS.values() for file in row[:2])]
    make_folder(out)
    for file in files:
        if (folder / file).is_file():
            with replacing(out / file) as draft:
                draft.write_bytes(_bytes(folder / file))


def read_about(folder: Path) -> dict[str, Any]:
    """Read a folder's model.json.

    Raises
    ------
    ModelError : it is missing, no JSON, of another format, or lacks something.
    """
    try:
        about = json.loads(_bytes(folder / FILE))
    except ValueError as error:
        raise ModelError(f"{folder / 'model.json'} is not JSON: {error}") from error
    if not isinstance(about, dict) or about.get("format") not in (1, FORMAT):
        found = about.get("format") if isinstance(about, dict) else about
        raise ModelError(
            f"{folder} has the model format {found!r}",
            expected=f"format 1 or {FORMAT}",
            hint="export the model with this version of anycell",
        )
    needed = ("sha256", "representation", "halo", "multiple", "diameter")
    missing = [key for key in needed if key not in about]
    if missing:
        raise ModelError(
            f"{folder / 'model.json'} does not say {', '.join(missing)}",
            expected=f"at least {', '.join(needed)}",
        )
    return about


def precisions(about: dict[str, Any]) -> tuple[str, ...]:
    """The precisions that a model comes in, the one that is taken by itself first."""
    there = [name for name in PRECISIONS if name == "fp32" or name in about]
    shipped = about.get("precision", "fp32")
    return tuple(sorted(there, key=lambda name: name != shipped))


def read_graph(folder: Path, about: dict[str, Any], precision: str) -> bytes:
    """Read a graph and compare its hash with that in model.json.

    Raises
    ------
    ModelError : the file is missing or is another one.
    """
    path = folder / PRECISIONS[precision][0]
    graph = _bytes(path)
    digest = hashlib.sha256(graph).hexdigest()
    wanted = about["sha256"] if precision == "fp32" else about[precision]["sha256"]
    if digest != wanted:
        raise ModelError(
            f"{path} is not the file that model.json describes",
            expected=f"SHA-256 {wanted[:16]}..., found {digest[:16]}...",
            hint="reinstall anycell, or copy the model's folder again",
        )
    return graph


def check_difference(model: Model, folder: Path) -> float:
    """Run the stored input; give the difference to the stored outputs.

    Returns
    -------
    the largest difference as a share of the largest stored output (at least of 1).

    Raises
    ------
    ModelError : the check is missing or damaged, or the outputs have another shape.
    """
    path = folder / PRECISIONS[model.precision][1]
    try:
        with np.load(io.BytesIO(_bytes(path)), allow_pickle=False) as stored:
            image, wanted = stored["image"], stored["outputs"]
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(
            f"{path} cannot be read: {error}",
            expected="the check that the model was exported with",
            hint="reinstall anycell, or copy the model's folder again",
        ) from error
    found = model.outputs(image.astype(np.float32))
    if found.shape != wanted.shape:
        raise ModelError(f"{folder}: outputs of shape {found.shape}, stored {wanted.shape}")
    return float(np.abs(found - wanted).max()) / max(1.0, float(np.abs(wanted).max()))


def _classic(precision: str, runtime: str) -> Predictor:
    from anycell.predictor import Classic

    for what, value in (("precision", precision), ("runtime", runtime)):
        if value != "auto":
            raise SettingError(
                f"the {what} {value} for the classical method", expected="auto: it has no network"
            )
    return Classic()


def _chosen(folder: Path, about: dict[str, Any], precision: str) -> str:
    """The precision that is meant, if the model comes in it."""
    there = precisions(about)
    wanted = about.get("precision", "fp32") if precision == "auto" else precision
    if wanted not in PRECISIONS:
        raise unknown_name("precision", str(wanted), ("auto", *PRECISIONS))
    if wanted not in there:
        raise SettingError(
            f"{folder.name} does not come in {wanted}",
            expected=f"one of {', '.join(('auto', *there))}",
            hint=f"anycell models export {folder.name} -o OUT --precision int8 --calibrate DATA",
        )
    return str(wanted)


def _weights() -> Path:
    return Path(__file__).parent / "weights"


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}",
            expected="a folder with model.onnx, model.json and check.npz",
            hint=str(best) if (best := path.parent / "best").is_dir() else "",
        ) from error
