"""Many small images against the same pixels as one large image: seconds per megapixel.

    python benchmarks/many.py [-o OUT] [--rows 25] [--columns 40] [--side 256] [--repeats 3]
                              [--modalities nuclei] [--kind tif] [--model general]
                              [--add] [--docs docs/throughput.md]

A simulated field of ROWS x COLUMNS squares (1,000 by default) of each modality is written
once as one tiled TIFF and once as a folder with one file per square.  ``anycell segment
FOLDER`` runs over each in a fresh process, in turns, ``--repeats`` times, in these ways:

    default       the zoom is found: for the large image, and for each small one anew
    same scale    --same-scale: the zoom is found on nine of the small images, for all
    zoom 1        --zoom 1 for both: nothing is searched, the network does the same work

OUT/many.json and OUT/many.png hold medians; with ``--add``, also what was there before of
other modalities and numbers.  Where --docs names a file, a table goes between its marks.
``cpu`` is what the process used; on a machine
that others use, ``wall`` is an upper bound.  Stages are processor seconds of the threads
that did them: ``scale`` the looks that found the zoom and are not the result, ``rest``
everything else, which is start, imports, loading the model, threads and run.json.
``network_megapixels`` is what the network was given, halos and looks included.  ``batches``
says what the network alone takes per tile, on one core, if several tiles go into it at once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

STAGES = ("read", "scale", "network", "decode", "seams", "write", "rest")
OPEN, CLOSE = "<!-- many -->", "<!-- /many -->"
FIELD = 1024
FIELDS = 4
TILE = 512
BATCHES = (1, 2, 4, 8)
WAYS: dict[str, tuple[str, ...]] = {
    "default": (),
    "same scale": ("--same-scale",),
    "zoom 1": ("--zoom", "1"),
}


def field(height: int, width: int, modality: str) -> np.ndarray:
    """Simulated fields side by side, mirrored where they come again: rows x columns x channels."""
    from anycell.simulate import simulate

    shape = (FIELD, FIELD)
    made: list[np.ndarray] = []
    for seed in range(100):  # some modalities draw their channels too: one or three, all alike
        drawn = simulate(modality, shape, diameter=24.0, seed=seed).image
        if len(drawn) in (1, 3) and len(drawn) == len((made or [drawn])[0]):
            made.append(drawn)
        if len(made) == FIELDS:
            break
    out = np.empty((len(made[0]), height, width), np.uint8)
    for row, y in enumerate(range(0, height, FIELD)):
        for column, x in enumerate(range(0, width, FIELD)):
            part = made[(row + column) % len(made)][
                :, :: 1 - 2 * (row % 2), :: 1 - 2 * (column % 2)
            ]
            place = out[:, y : y + FIELD, x : x + FIELD]
            place[:] = part[:, : place.shape[1], : place.shape[2]]
    return np.ascontiguousarray(np.moveaxis(out, 0, -1))


def write(pixels: np.ndarray, path: Path, tile: int | None = None) -> None:
    import imagecodecs
    import tifffile

    plane = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(plane), level=1))
        return
    tifffile.imwrite(
        path,
        plane,
        tile=None if tile is None else (tile, tile),
        photometric="minisblack" if plane.ndim == 2 else "rgb",
        compression="zlib",
        compressionargs={"level": 1},
    )


def write_both(asked: argparse.Namespace, modality: str, root: Path) -> float:
    """Write root/one and root/many; give the megapixels."""
    side = asked.side
    pixels = field(asked.rows * side, asked.columns * side, modality)
    (root / "one").mkdir()
    (root / "many").mkdir()
    write(pixels, root / "one" / "field.tif", TILE)
    for row in range(asked.rows):
        for column in range(asked.columns):
            part = pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
            write(part, root / "many" / f"{row:03d}_{column:03d}.{asked.kind}")
    return pixels.shape[0] * pixels.shape[1] / 1e6


def instrumented(words: list[str]) -> dict[str, Any]:
    """Run the program ``anycell`` in this process; processor seconds by stage."""
    import anycell.folders
    import anycell.looks
    import anycell.road
    from anycell.model import Model

    clock = time.thread_time  # the network of a worker runs in the worker's own thread
    watches: list[anycell.road.Stopwatch] = []
    seen: list[int] = []
    spent = {"read": 0.0, "scale": 0.0, "write": 0.0}

    class Watch(anycell.road.Stopwatch):
        def __init__(self) -> None:
            super().__init__()
            watches.append(self)

    def timed(stage: str, function: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            began = clock()
            try:
                return function(*given, **named)
            finally:
                spent[stage] += clock() - began

        return run

    def counted(function: Any) -> Any:
        def run(self: Model, tiles: np.ndarray, *given: Any) -> Any:
            seen.append(tiles.shape[0] * tiles.shape[2] * tiles.shape[3])
            return function(self, tiles, *given)

        return run

    anycell.road.perf_counter = anycell.looks.perf_counter = clock  # type: ignore[attr-defined]
    anycell.road.Stopwatch = Watch  # type: ignore[misc]
    anycell.folders.common_plan = timed("scale", anycell.folders.common_plan)
    anycell.folders.write_labels = timed("write", anycell.folders.write_labels)
    opening = anycell.folders.Opening
    opening.open = timed("read", opening.open)  # type: ignore[method-assign]
    Model.outputs = counted(Model.outputs)  # type: ignore[method-assign]
    Model.style = counted(Model.style)  # type: ignore[method-assign]
    sys.argv = ["anycell", *words]
    from anycell.cli import main

    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise
    stages = {name: sum(watch.seconds[name] for watch in watches) for name in STAGES[:5]}
    for name, seconds in spent.items():
        stages[name] = stages.get(name, 0.0) + seconds
    stages["rest"] = time.process_time() - sum(stages.values())
    return {"stages": stages, "network_megapixels": sum(seen) / 1e6}


def once(asked: argparse.Namespace, folder: Path, way: str) -> dict[str, Any]:
    """Segment a folder in a fresh process."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        words = ["segment", str(folder), "-o", out, "--quiet", "--model", asked.model, *WAYS[way]]
        before, began = os.times(), time.perf_counter()
        own = [sys.executable, __file__, "--one", json.dumps(words)]
        done = subprocess.run(own, check=True, capture_output=True, text=True)
        wall, after = time.perf_counter() - began, os.times()
        results = json.loads((Path(out) / "run.json").read_text())["results"]
    told = json.loads(done.stdout.splitlines()[-1])
    zooms = Counter(round(result["zoom"], 3) for result in results)
    return {
        "wall": wall,
        "cpu": after.children_user + after.children_system
        - before.children_user - before.children_system,
        **told,
        "cells": sum(result["cells"] for result in results),
        "zooms": {str(zoom): count for zoom, count in sorted(zooms.items())},
    }  # fmt: skip


def compared(asked: argparse.Namespace, modality: str) -> list[dict[str, Any]]:
    """Compare many images with one, in each way."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=asked.out) as folder:
        root = Path(folder)
        megapixels = write_both(asked, modality, root)
        for way in WAYS:
            runs: dict[str, list[dict[str, Any]]] = {"one": [], "many": []}
            for _ in range(asked.repeats):
                for name, made in runs.items():
                    made.append(once(asked, root / name, way))
            row: dict[str, Any] = {"modality": modality, "images": asked.rows * asked.columns}
            row |= {"side": asked.side, "megapixels": megapixels, "way": way}
            row |= {"repeats": asked.repeats, "load": os.getloadavg()[0]}
            row |= {name: median(made, megapixels) for name, made in runs.items()}
            for key in ("cpu", "wall"):
                row[f"ratio_{key}"] = round(row["many"][key] / row["one"][key], 3)
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def median(runs: list[dict[str, Any]], megapixels: float) -> dict[str, Any]:
    """Medians of several runs, and both per megapixel."""
    out: dict[str, Any] = {}
    for key in ("wall", "cpu", "network_megapixels"):
        out[key] = round(statistics.median(run[key] for run in runs), 3)
    for key in ("wall", "cpu"):
        out[f"{key}_per_megapixel"] = round(out[key] / megapixels, 4)
    out["stages_per_megapixel"] = {
        name: round(statistics.median(run["stages"][name] for run in runs) / megapixels, 4)
        for name in STAGES
    }
    return out | {key: runs[-1][key] for key in ("cells", "zooms")}


def batches(model: str, side: int) -> dict[str, float]:
    """Processor seconds of the network per tile, for several tiles at once, one core."""
    from anycell.model import load_model

    predictor = load_model(model, threads=1)
    tiles = np.random.default_rng(1).random((max(BATCHES), 3, side, side), np.float32)
    spent: dict[int, list[float]] = {count: [] for count in BATCHES}
    for _ in range(5):
        for count in BATCHES:
            began = time.process_time()
            for first in range(0, len(tiles), count):
                predictor.outputs(tiles[first : first + count])
            spent[count].append((time.process_time() - began) / len(tiles))
    return {str(count): round(statistics.median(v), 5) for count, v in spent.items()}


def plot(told: dict[str, Any], path: Path) -> None:
    """Bars of processor seconds per megapixel by stage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.55 * len(told["rows"])), layout="constrained")
    axes = figure.subplots()
    names, rows = [], []
    for row in told["rows"]:
        told_of = f"{row['modality']}, {row['way']}"
        names += [f"{told_of}: one image", f"{row['images']} images"]
        rows += [row["one"], row["many"]]
    places = np.arange(len(rows)) + 0.25 * (np.arange(len(rows)) // 2)
    left = np.zeros(len(rows))
    for stage in STAGES:
        width = np.array([row["stages_per_megapixel"][stage] for row in rows])
        axes.barh(places, width, left=left, label=stage)
        left += width
    for k, row in enumerate(told["rows"]):
        where = (left[2 * k + 1], places[2 * k + 1])
        axes.text(*where, f" x {row['ratio_cpu']:.2f}", va="center", fontsize=8)
    axes.set_yticks(places, names, fontsize=7)
    axes.set(
        xlabel="processor seconds per megapixel",
        title="many small images against the same pixels as one image",
        xlim=(0, 1.15 * left.max()),
    )
    axes.invert_yaxis()
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def write_table(told: dict[str, Any], path: Path) -> None:
    """Put a table between the marks of a document."""
    lines = [
        "",
        "| images | as | CPU s/MP: one image | many | many / one | network MP per MP |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in told["rows"]:
        one, many = row["one"], row["many"]
        shares = (part["network_megapixels"] / row["megapixels"] for part in (one, many))
        cells = [f"{row['images']:,} {row['modality']}".replace("_", " "), row["way"]]
        cells += [f"{part['cpu_per_megapixel']:.2f}" for part in (one, many)]
        cells += [f"{row['ratio_cpu']:.2f}", " / ".join(f"{v:.2f}" for v in shares)]
        lines.append(f"| {' | '.join(cells)} |")
    spent = ", ".join(f"{n}: {1e3 * v:.1f} ms" for n, v in told["batches"].items())
    lines += ["", f"The network alone, per tile of 256 px, for so many tiles at once: {spent}.", ""]
    before, _, rest = path.read_text(encoding="utf-8").partition(OPEN)
    after = rest.partition(CLOSE)[2]
    path.write_text("\n".join([before + OPEN, *lines, CLOSE + after]), encoding="utf-8")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--rows", type=int, default=25)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--modalities", default="nuclei")
    parser.add_argument("--kind", default="tif", choices=("tif", "png"), help="of small files")
    parser.add_argument("--model", default="general")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    asked = options().parse_args()
    if asked.one:
        print(json.dumps(instrumented(json.loads(asked.one))))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "many.json"
    before = json.loads(path.read_text()) if asked.add and path.exists() else {}
    rows = [row for name in asked.modalities.split(",") for row in compared(asked, name)]
    new = {(row["modality"], row["images"]) for row in rows}
    kept = [r for r in before.get("rows", []) if (r["modality"], r["images"]) not in new]
    told = {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "commands": [*before.get("commands", []), ["benchmarks/many.py", *sys.argv[1:]]],
        "rows": kept + rows,
        "batches": batches(asked.model, asked.side),
    }
    print(json.dumps(told["batches"]))
    path.write_text(json.dumps(told, indent=1) + "\n")
    plot(told, asked.out / "many.png")
    if asked.docs:
        write_table(told, asked.docs)


if __name__ == "__main__":
    main()
