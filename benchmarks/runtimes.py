"""Time runtimes, precisions and settings on one model, in turns in one process.

    python benchmarks/runtimes.py [-o OUT] [--model general] [--docs docs/runtimes.md]

Three tables: seconds per megapixel of the network alone, per runtime and precision, with
the largest difference of its outputs to onnxruntime's fp32 and the F1 of its labels
against those; settings of onnxruntime, network alone; settings of onnxruntime and the side
of tiles while other threads read and decode, as ``segment`` does.  Writes OUT/runtimes.json,
OUT/runtimes.png, and, where --docs names a file, the tables between its marks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from anycell.image import Image
from anycell.matching import Rules
from anycell.model import Model, load_model, precisions, read_graph
from anycell.model import model_folder as folder_of
from anycell.runs import cores
from anycell.runtimes import FIELDS, OnnxRuntime, OpenVino, Runner, given, installed, open_graph
from anycell.scores import score_pair
from anycell.segment import segment
from anycell.simulate import simulate

SIDE = 704
OPEN, CLOSE = "<!-- runtimes -->", "<!-- /runtimes -->"
LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "onnxruntime's own": {},
    "spinning off": {"spin": False},
    "arena off": {"arena": False},
    "spinning and arena off": {"spin": False, "arena": False},
    "optimized extended, not all": {"level": "extended"},
    "optimized basic": {"level": "basic"},
    "outputs bound": {"bound": True},
    "one thread": {"threads": 1},
}


class Bound:
    """Outputs in memory that is kept from one tile to the next (I/O binding)."""

    runtime = "onnxruntime"

    def __init__(self, made: OnnxRuntime) -> None:
        self.made = made
        self.style_size = made.style_size
        self.kept: dict[tuple[int, ...], np.ndarray] = {}

    def split(self, count: int) -> tuple[Bound, ...]:
        del count
        return (self,)

    def style(self, tiles: np.ndarray) -> np.ndarray:
        return self.made.style(tiles)

    def run(self, tiles: np.ndarray, style: np.ndarray | None = None) -> np.ndarray:
        if tiles.shape not in self.kept:
            self.kept[tiles.shape] = np.empty_like(self.made.run(tiles, style))
        out = self.kept[tiles.shape]
        binding = self.made.session.io_binding()
        for name, values in given(tiles, style, self.style_size).items():
            binding.bind_cpu_input(name, np.ascontiguousarray(values))
        binding.bind_output(FIELDS, "cpu", 0, np.float32, out.shape, out.ctypes.data)
        self.made.session.run_with_iobinding(binding)
        return out.copy()


def session(
    graph: bytes,
    *,
    spin: bool = True,
    arena: bool = True,
    level: str = "all",
    bound: bool = False,
    threads: int = 0,
) -> Runner:
    """Make an onnxruntime session with settings of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
    options.graph_optimization_level = LEVELS[level]
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    own = OnnxRuntime(made)
    return Bound(own) if bound else own


def in_turns(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each task, of the clock and of the processor; rounds run every task once."""
    wall: dict[str, list[float]] = {name: [] for name in tasks}
    cpu: dict[str, list[float]] = {name: [] for name in tasks}
    for k in range(repeats + 1):
        for name, task in tasks.items():
            began, used = time.perf_counter(), time.process_time()
            task()
            if k:
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - used)
    return {
        name: {
            "median": statistics.median(wall[name]),
            "least": min(wall[name]),
            "cpu": statistics.median(cpu[name]),
        }
        for name in tasks
    }


def runners(graphs: dict[str, bytes]) -> dict[str, Runner]:
    """Every runtime in every precision that is there."""
    found: dict[str, Runner] = {}
    for precision, graph in graphs.items():
        for runtime in installed():
            found[f"{runtime} {precision}"] = open_graph(graph, runtime)
    if "openvino" in installed():
        found["openvino bf16"] = OpenVino.of(graphs["fp32"], cores(), "bf16")
    return found


def of_runtimes(model: Model, graphs: dict[str, bytes], repeats: int) -> list[dict[str, Any]]:
    """Seconds and agreement of each runtime and precision."""
    made = runners(graphs)
    modalities = ("nuclei", "phase", "cells", "bacteria_phase")
    images = [field(512, name) for name in modalities]
    tiles = [np.repeat(image.astype(np.float32), 3, 0)[None] for image in images]
    tiles = [np.clip((t - t.min()) / np.ptp(t), 0, 1) for t in tiles]
    wanted = [made["onnxruntime fp32"].run(tile) for tile in tiles]
    truth = [labels_of(replace(model, runner=made["onnxruntime fp32"]), im) for im in images]
    big = np.resize(tiles[0], (1, 3, SIDE, SIDE)).astype(np.float32)
    times = in_turns(
        {name: lambda runner=runner: runner.run(big) for name, runner in made.items()}, repeats
    )
    rows = []
    for name, runner in made.items():
        off = max(
            float(np.abs(runner.run(tile) - want).max() / np.abs(want).max())
            for tile, want in zip(tiles, wanted, strict=True)
        )
        f1 = [
            score_pair(labels_of(replace(model, runner=runner), image), true, RULES)[0].values.f1
            for image, true in zip(images, truth, strict=True)
        ]
        rows.append({"name": name, **per_megapixel(times[name], SIDE), "off": off, "f1": min(f1)})
    return rows


RULES = Rules(iou=(0.5,), ignore_border=0)


def field(side: int, modality: str) -> np.ndarray:
    """A simulated image of 512 px, repeated up to side x side: channels x side x side."""
    made = simulate(modality, (512, 512), diameter=24.0, seed=7).image[:1]
    copies = -(-side // 512)
    return np.tile(made, (1, copies, copies))[:, :side, :side]


def labels_of(model: Model, image: np.ndarray) -> np.ndarray:
    return segment(image, model, zoom=1.0).labels


def per_megapixel(times: dict[str, float], side: int) -> dict[str, float]:
    return {name: round(value / (side * side / 1e6), 4) for name, value in times.items()}


def of_settings(graph: bytes, repeats: int) -> list[dict[str, Any]]:
    """Seconds of the network alone by settings of onnxruntime."""
    tile = np.random.default_rng(0).uniform(0, 1, (1, 3, SIDE, SIDE)).astype(np.float32)
    made = {name: session(graph, **settings) for name, settings in SETTINGS.items()}
    times = in_turns({name: lambda r=r: r.run(tile) for name, r in made.items()}, repeats)
    return [{"name": name, **per_megapixel(times[name], SIDE)} for name in made]


def of_segment(model: Model, graph: bytes, side: int, repeats: int) -> list[dict[str, Any]]:
    """Wall seconds of ``segment`` by settings and by the side of a tile's core."""
    image = Image.from_array(field(side, "nuclei"))
    tasks: dict[str, Callable[[], object]] = {
        "as it is: one tile on each core": lambda: segment(image, model, zoom=1.0)
    }
    for name in ("onnxruntime's own", "spinning off", "arena off", "outputs bound", "one thread"):
        made = replace(model, runner=session(graph, **SETTINGS[name]))
        tasks[f"one tile at a time, {name}"] = lambda made=made: segment(
            image, made, zoom=1.0, workers=1
        )
    for core in (384, 768, 1024):
        tasks[f"as it is, core {core} for 512"] = lambda core=core: segment(
            image, model, zoom=1.0, core=core
        )
    times = in_turns(tasks, repeats)
    return [{"name": name, **per_megapixel(times[name], side)} for name in tasks]


def tables(told: dict[str, Any]) -> list[str]:
    """Markdown of the three tables."""
    packages = ", ".join(f"{name} {found}" for name, found in told["packages"].items())
    intro = (
        f"Seconds per megapixel on {told['cores']} cores ({packages}), model `{told['model']}`"
        f" ({told['hash']}), median and least of {told['repeats']} rounds in turns (of"
        f" `segment`, {max(3, told['repeats'] // 2)}), and median seconds of processor time. The"
        f" machine was shared: its load was {told['load'][0]:.1f} before and"
        f" {told['load'][1]:.1f} after, so processor time says the most. Made by"
        " `python benchmarks/runtimes.py [-o OUT] --docs docs/runtimes.md`."
    )
    lines = [
        intro,
        "",
        "| network alone | median | least | processor | largest difference | F1 of the labels |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r['name']} | {seconds(r)} | {r['off']:.3%} | {r['f1']:.3f} |" for r in told["runtimes"]
    ]
    for title, key in (
        ("network alone, onnxruntime fp32", "settings"),
        ("`segment` as a whole, onnxruntime fp32", "segment"),
    ):
        lines += ["", f"| {title} | median | least | processor |", "|---|---:|---:|---:|"]
        lines += [f"| {r['name']} | {seconds(r)} |" for r in told[key]]
    return lines


def seconds(row: dict[str, Any]) -> str:
    return " | ".join(f"{row[key]:.3f}" for key in ("median", "least", "cpu"))


def plot(told: dict[str, Any], path: Path) -> None:
    """Bars of the processor's seconds per megapixel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, key in zip(figure.subplots(1, 3), ("runtimes", "settings", "segment"), strict=True):
        rows = told[key]
        axes.barh([r["name"] for r in rows], [r["cpu"] for r in rows], color="tab:blue")
        axes.set(xlabel="processor seconds per megapixel", title=key)
        axes.tick_params(labelsize=7)
        axes.invert_yaxis()
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--model", default="general")
    parser.add_argument("--side", type=int, default=1536, help="of the image for segment")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--docs", type=Path)
    asked = parser.parse_args()
    model = load_model(asked.model, precision="fp32")
    assert isinstance(model, Model)
    folder = folder_of(asked.model)
    graphs = {name: read_graph(folder, model.about, name) for name in precisions(model.about)}
    graphs = {"fp32": graphs.pop("fp32"), **graphs}
    load = os.getloadavg()[0]
    told: dict[str, Any] = {
        "model": model.name,
        "hash": model.hash,
        "machine": platform.machine(),
        "cores": cores(),
        "packages": {name: version(name) for name in installed()},
        "repeats": asked.repeats,
        "runtimes": of_runtimes(model, graphs, asked.repeats),
        "settings": of_settings(graphs["fp32"], asked.repeats),
        "segment": of_segment(model, graphs["fp32"], asked.side, max(3, asked.repeats // 2)),
    }
    told["load"] = [load, os.getloadavg()[0]]
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "runtimes.json").write_text(json.dumps(told, indent=1) + "\n")
    plot(told, asked.out / "runtimes.png")
    lines = tables(told)
    print("\n".join(lines))
    if asked.docs:
        before, _, rest = asked.docs.read_text(encoding="utf-8").partition(OPEN)
        _, _, after = rest.partition(CLOSE)
        asked.docs.write_text("\n".join([before + OPEN, *lines, CLOSE + after]), encoding="utf-8")


if __name__ == "__main__":
    main()
