"""Runtimes: what computes the graph of a network on this machine.

    onnxruntime    comes with anycell
    openvino       comes with anycell[openvino]

Both compute in the graph's own precision; neither is left to choose a coarser one.  Times
and the settings chosen after them are in docs/runtimes.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anycell.errors import ModelError, SettingError, unknown_name
from anycell.representations import Fields
from anycell.runs import cores

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "FIELDS",
    "IMAGE",
    "OWN",
    "RUNTIMES",
    "STYLE",
    "Runner",
    "given",
    "installed",
    "open_graph",
]

RUNTIMES = ("onnxruntime", "openvino")
IMAGE, STYLE = "image", "style"
FIELDS, OWN = "fields", "own_style"
"""Names of a graph's inputs and outputs; only graphs of networks with a style have the second
ones."""


class Runner(Protocol):
    """A graph that is ready to run."""

    @property
    def runtime(self) -> str:
        """The name of the runtime."""

    def split(self, count: int) -> tuple[Runner, ...]:
        """Give up to ``count`` runners of the same graph; if several, each on one core."""

    @property
    def style_size(self) -> int:
        """Values in a style; 0 if the graph has none."""

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the style of each of n x 3 x H x W tiles."""

    def run(self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None) -> Fields:
        """Compute n x 3 x H x W tiles, each with its own style or all with the one given.

        The result is the caller's own.
        """


def installed() -> tuple[str, ...]:
    """The runtimes that are there."""
    return tuple(name for name in RUNTIMES if find_spec(name) is not None)


def open_graph(graph: bytes, runtime: str = "auto", threads: int = 0) -> Runner:
    """Make a graph ready to run.

    Parameters
    ----------
    graph : an ONNX file.
    runtime : one of ``RUNTIMES``, or ``auto``, which is onnxruntime.
    threads : 0 for one per core.

    Raises
    ------
    SettingError : no such runtime, or it is not installed.
    ModelError : the runtime cannot read the graph.
    """
    name = RUNTIMES[0] if runtime == "auto" else runtime
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, ("auto", *RUNTIMES))
    if name not in installed():
        raise SettingError(
            f"the runtime {name} is not installed",
            expected=f"one of {', '.join(('auto', *installed()))}",
            hint=f"pip install 'anycell[{name}]'",
        )
    count = threads or cores()
    return OnnxRuntime.of(graph, count) if name == RUNTIMES[0] else OpenVino.of(graph, count)


def given(
    tiles: NDArray[np.float32], style: NDArray[np.float32] | None, size: int
) -> dict[str, NDArray[np.float32]]:
    """Give a graph its inputs by name.

    Parameters
    ----------
    style : ``size`` values for all tiles; by default none is given, which the graph takes for
        each tile's own.

    Raises
    ------
    SettingError : a style of another size.
    """
    if not size and style is None:
        return {IMAGE: tiles}
    row = np.full(size, np.nan, dtype=np.float32) if style is None else style
    if row.shape != (size,):
        raise SettingError(f"a style of shape {row.shape}", expected=f"({size},)")
    return {IMAGE: tiles, STYLE: np.tile(row, (len(tiles), 1))}


@dataclass(frozen=True)
class OnnxRuntime:
    """A session of onnxruntime; another process gets the graph and makes its own."""

    session: onnxruntime.InferenceSession = field(repr=False)
    graph: bytes = field(default=b"", repr=False)
    threads: int = 0

    runtime = "onnxruntime"

    @classmethod
    def of(cls, graph: bytes, threads: int) -> OnnxRuntime:
        """Read a graph."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A thread that spins while it waits takes the core of those that read and decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # One block for a whole tile finds no room in memory that is there: an eighth more.
        options.enable_mem_pattern = False
        try:
            made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has no common class of its own
            raise ModelError(f"onnxruntime cannot load the graph: {error}") from error
        return cls(made, graph, threads)

    def __reduce__(self) -> tuple[object, ...]:
        return open_graph, (self.graph, self.runtime, self.threads)

    def split(self, count: int) -> tuple[OnnxRuntime, ...]:
        """Give one session on one core ``count`` times: any number of threads may run it.

        A session that came without its graph is given alone.
        """
        if self.threads == 1:
            return (self,) * count
        return (self._on_one_core,) * count if self.graph else (self,)

    @cached_property
    def _on_one_core(self) -> OnnxRuntime:
        return OnnxRuntime.of(self.graph, 1)

    @cached_property
    def style_size(self) -> int:
        """Values in a style."""
        return next((int(v.shape[1]) for v in self.session.get_inputs() if v.name == STYLE), 0)

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute styles."""
        if not self.style_size:
            return np.zeros((len(tiles), 0), dtype=np.float32)
        found: NDArray[np.float32] = self.session.run([OWN], given(tiles, None, self.style_size))[0]
        return found

    def run(self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None) -> Fields:
        """Compute tiles."""
        found: Fields = self.session.run([FIELDS], given(tiles, style, self.style_size))[0]
        return found


@dataclass(frozen=True)
class OpenVino:
    """A model compiled by OpenVINO for the processor; another process compiles its own."""

    request: Any = field(repr=False)
    graph: bytes = field(default=b"", repr=False)
    threads: int = 0
    precision: str = "f32"

    runtime = "openvino"

    @classmethod
    def of(cls, graph: bytes, threads: int, precision: str = "f32") -> OpenVino:
        """Read and compile a graph.

        ``precision`` is what layers that are not stored as int8 compute in: left to
        itself, OpenVINO takes bfloat16 where the processor has it.
        """
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        reader = openvino.Core()
        try:
            compiled = reader.compile_model(reader.read_model(graph), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"openvino cannot load the graph: {error}") from error
        return cls(compiled.create_infer_request(), graph, threads, precision)

    def __reduce__(self) -> tuple[object, ...]:
        return OpenVino.of, (self.graph, self.threads, self.precision)

    def split(self, count: int) -> tuple[OpenVino, ...]:
        """Compile ``count`` times for one core each: a request is for one thread."""
        return tuple(OpenVino.of(self.graph, 1, self.precision) for _ in range(count))

    @cached_property
    def style_size(self) -> int:
        """Values in a style."""
        inputs = self.request.model_inputs
        return next((int(v.partial_shape[1].get_length()) for v in inputs if STYLE in v.names), 0)

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute styles."""
        if not self.style_size:
            return np.zeros((len(tiles), 0), dtype=np.float32)
        found: NDArray[np.float32] = self._infer(tiles, None)[1]
        return found

    def run(self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None) -> Fields:
        """Compute tiles."""
        found: Fields = self._infer(tiles, style)[0]
        return found

    def _infer(self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None) -> Any:
        return self.request.infer(given(tiles, style, self.style_size), share_inputs=True)
