"""Models: trained methods as folders of an ONNX graph and what is known about it.

    NAME/model.onnx      the network, shortcuts and norms folded, weights stored as float16
    NAME/model.json      format, method, settings, training data, scores, hash of the graph
    NAME/check.npz       one input and the outputs it must give; compared on load

Models need onnxruntime, never torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anycell.errors import ModelError, unknown_name
from anycell.representations import Fields, Representation, representation
from anycell.runs import cores

if TYPE_CHECKING:
    import onnxruntime

    from anycell.predictor import Predictor

__all__ = [
    "DEFAULT",
    "FORMAT",
    "Model",
    "bundled",
    "default_model",
    "load_model",
    "model_folder",
]

FORMAT = 1
DEFAULT = "general"
TOLERANCE = 0.02


@dataclass(frozen=True)
class Model:
    """A trained network behind onnxruntime; a ``Predictor``.

    Attributes
    ----------
    name : the folder's name.
    hash : first 16 digits of the SHA-256 of the graph.
    representation : turns outputs into labels.
    halo : pixels around a tile's core that it must see.
    multiple : rows and columns of a tile must be a multiple of this.
    diameter : network pixels that cells had across in training, typically.
    min_confidence : cells below it are left out unless another limit is asked for.
    about : everything else that model.json says.
    """

    name: str
    hash: str
    representation: Representation
    halo: int
    multiple: int
    diameter: float
    min_confidence: float
    about: dict[str, Any] = field(repr=False)
    session: onnxruntime.InferenceSession = field(repr=False)

    def look(self, overview: NDArray[np.float32]) -> Model:
        """Look at the whole image, small; a network has nothing to learn from it."""
        del overview
        return self

    def outputs(self, tiles: NDArray[np.float32]) -> Fields:
        """Run the network: n x 3 x H x W normalized tiles to n x channels x h x w."""
        found: Fields = self.session.run(None, {"image": tiles})[0]
        return found


def bundled() -> tuple[str, ...]:
    """Names of the models inside the package."""
    return tuple(sorted(p.parent.name for p in _weights().glob("*/model.json")))


def default_model() -> Predictor:
    """Load the model that ``segment`` uses when none is named."""
    return load_model(DEFAULT)


def load_model(name: str | Path, *, threads: int = 0) -> Predictor:
    """Load a model and check that it still computes what it did when it was made.

    Parameters
    ----------
    name : of a bundled model, ``classical``, or the path of a model's folder.
    threads : of onnxruntime; 0 for one per core.

    Raises
    ------
    SettingError : no model of that name.
    ModelError : damaged, incomplete, or of another format.
    """
    if name == "classical":
        from anycell.predictor import Classic

        return Classic()
    folder = model_folder(name)
    about = _about(folder)
    graph = _bytes(folder / "model.onnx")
    digest = hashlib.sha256(graph).hexdigest()
    if digest != about["sha256"]:
        raise ModelError(
            f"{folder / 'model.onnx'} is not the file that model.json describes",
            expected=f"SHA-256 {about['sha256'][:16]}..., found {digest[:16]}...",
            hint="reinstall anycell, or copy the model's folder again",
        )
    model = Model(
        name=folder.name,
        hash=digest[:16],
        representation=representation(
            about["representation"]["name"], about["representation"]["settings"]
        ),
        halo=int(about["halo"]),
        multiple=int(about["multiple"]),
        diameter=float(about["diameter"]),
        min_confidence=float(about.get("min_confidence", 0.0)),
        about=about,
        session=_session(graph, threads),
    )
    _verify(model, folder)
    return model


def model_folder(name: str | Path) -> Path:
    """Find the folder of a model by its path or, for one inside the package, its name.

    Raises
    ------
    SettingError : no such folder, and no model of that name.
    """
    folder = Path(name)
    packed = str(name) in bundled()
    if folder.is_dir() and ((folder / "model.json").is_file() or not packed):
        return folder
    if not packed:
        raise unknown_name("model", str(name), (*bundled(), "classical", "PATH"))
    return _weights() / str(name)


def _weights() -> Path:
    return Path(__file__).parent / "weights"


def _about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(_bytes(folder / "model.json"))
    except ValueError as error:
        raise ModelError(f"{folder / 'model.json'} is not JSON: {error}") from error
    if about.get("format") != FORMAT:
        raise ModelError(
            f"{folder} has the model format {about.get('format')!r}",
            expected=f"format {FORMAT}",
            hint="export the model with this version of anycell",
        )
    return about


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}",
            expected="a folder with model.onnx, model.json and check.npz",
        ) from error


def _session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class of its own
        raise ModelError(f"onnxruntime cannot load the graph: {error}") from error


def _verify(model: Model, folder: Path) -> None:
    """Run the stored input and compare with the stored outputs."""
    try:
        with np.load(folder / "check.npz", allow_pickle=False) as stored:
            image, wanted = stored["image"], stored["outputs"]
    except (OSError, KeyError, ValueError) as error:
        raise ModelError(f"{folder / 'check.npz'} cannot be read: {error}") from error
    found = model.outputs(image.astype(np.float32))
    if found.shape != wanted.shape:
        raise ModelError(f"{folder}: outputs of shape {found.shape}, stored {wanted.shape}")
    off = float(np.abs(found - wanted).max())
    if off > TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise ModelError(
            f"{folder}: the network's outputs differ by {off:.3g} from the stored ones",
            expected=f"a difference below {TOLERANCE:.0%} of the largest output",
            hint="pip install --upgrade onnxruntime",
        )
