"""Time and weigh slides from 1,000 pixels up: seconds, memory, shares of stages, cost per cell.

    python benchmarks/slide.py [-o OUT] [--slide IMAGE] [--sides 1000,2000,5000,10000]
                               [--cores 1,2] [--kinds tiff,png] [--model general] [--zoom 1]

An image given with ``--slide``, and a simulated section with exact labels, are mirrored up to
each side and written as tiled TIFF or as PNG; each is segmented to a file in a fresh process
that may use so many cores.  What it took goes into OUT/slide.json and OUT/slide.png, row by
row; rows that are there from an earlier run stay, unless they are measured again.  On a
machine that others use, the seconds are upper bounds; ``cpu`` is what the process itself
used, and ``busy`` that share of its cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STAGES = ("read", "scale", "network", "decode", "seams")
TILE = 512
SCORED = 2048


def mirrored(size: int, start: int, count: int) -> np.ndarray:
    """Indices into an axis that is mirrored at its end again and again."""
    place = np.arange(start, start + count) % (2 * size)
    return np.minimum(place, 2 * size - 1 - place)


def tiles(pixels: np.ndarray, side: int, tile: int = TILE) -> Iterator[np.ndarray]:
    for y in range(0, side, tile):
        rows = mirrored(pixels.shape[0], y, tile)
        for x in range(0, side, tile):
            yield pixels[np.ix_(rows, mirrored(pixels.shape[1], x, tile))]


def section() -> tuple[np.ndarray, np.ndarray]:
    """A simulated section: rows x columns x 3, and its labels."""
    from anycell.simulate import simulate

    made = simulate("histology", (1024, 1024), diameter=24.0, seed=7)
    return np.moveaxis(made.image, 0, -1), made.labels


def write(pixels: np.ndarray, side: int, path: Path) -> None:
    import imagecodecs
    import tifffile

    if path.suffix == ".png":
        rows, columns = (mirrored(size, 0, side) for size in pixels.shape[:2])
        path.write_bytes(imagecodecs.png_encode(pixels[np.ix_(rows, columns)], level=1))
        return
    tifffile.imwrite(
        path,
        tiles(pixels, side),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="zlib",
        compressionargs={"level": 1},
    )


def measure(path: Path, asked: argparse.Namespace) -> dict[str, object]:
    """Segment a file in this process."""
    if asked.one_cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.one_cores])
    from anycell.files import open_image
    from anycell.model import load_model
    from anycell.road import Asked, prepare
    from anycell.runs import keep_memory_small, peak_memory
    from anycell.slides import Target, write_slide

    keep_memory_small()  # as the command line does
    model = load_model(asked.model).split(2)[0]  # as the command line does for slides
    before = peak_memory()
    began, cpu = time.perf_counter(), time.process_time()
    image = open_image(path)
    road = prepare(image, model, Asked(zoom=asked.zoom))
    written = write_slide(road, Target(path.with_suffix(".labels.tiff")))
    wall = time.perf_counter() - began
    cpu = time.process_time() - cpu
    _, height, width = image.shape
    return {
        "megapixels": height * width / 1e6,
        "network_megapixels": round(height * width * road.zoom**2 / 1e6, 2),
        "zoom": road.zoom,
        "tiles": written.tiles,
        "cells": written.cells,
        "seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "busy": round(cpu / wall / asked.one_cores, 3),
        "stages": {k: round(road.watch.seconds[k], 3) for k in STAGES},
        "seconds_per_megapixel": round(wall / height / width * 1e6, 4),
        "milliseconds_per_cell": round(1e3 * wall / max(1, written.cells or 0), 4),
        "peak_bytes": peak_memory(),
        "peak_bytes_before": before,
    }


def score(labels: np.ndarray, side: int, found: Path) -> float:
    """F1 at 0.5 against the exact labels; pieces that meet at a mirror are one cell."""
    from skimage.measure import label

    from anycell.files import read_labels
    from anycell.scores import score_pair

    rows, columns = (mirrored(size, 0, side) for size in labels.shape)
    truth = label(labels[np.ix_(rows, columns)], background=0, connectivity=2).astype(np.int32)
    return round(score_pair(read_labels(found), truth)[0].values.f1, 4)


def plot(rows: list[dict[str, object]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    time_axes, memory_axes, share_axes = figure.subplots(1, 3)
    series: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        key = f"{row['source']}, {row['kind']}, {row['cores']} cores, {row['model']}"
        series.setdefault(key, []).append(row)
    for name, members in series.items():
        sides = [row["side"] for row in members]
        time_axes.plot(sides, [row["seconds"] for row in members], "o-", label=name)
        gib = [float(row["peak_bytes"]) / 2**30 for row in members]  # type: ignore[arg-type]
        memory_axes.plot(sides, gib, "o-", label=name)
    bottom = np.zeros(len(rows))
    names = [f"{row['source']}\n{row['side']} x{row['cores']}" for row in rows]
    for stage in STAGES:
        spent = [row["stages"][stage] for row in rows]  # type: ignore[index]
        whole = [sum(row["stages"].values()) for row in rows]  # type: ignore[attr-defined]
        share = np.array(spent) / np.array(whole)
        share_axes.barh(names, share, left=bottom, label=stage)
        bottom += share
    time_axes.set(xlabel="side, pixels", ylabel="seconds", xscale="log", yscale="log")
    memory_axes.set(xlabel="side, pixels", ylabel="peak memory, GiB", ylim=(0, None))
    share_axes.set(xlabel="share of the workers' time")
    share_axes.tick_params(axis="y", labelsize=6)
    time_axes.legend(fontsize=6)
    share_axes.legend(fontsize=6, ncols=len(STAGES), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.savefig(path, dpi=120)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--sides", default="1000,2000,5000,10000")
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--kinds", default="tiff")
    parser.add_argument("--sources", default="simulated,slide")
    parser.add_argument("--model", default="general")
    parser.add_argument("--zoom", type=float)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one-cores", type=int, default=1, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    asked = options().parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked)))
        return
    sources: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    if "simulated" in asked.sources:
        sources["simulated"] = section()
    if asked.slide and "slide" in asked.sources:
        from anycell.files import open_image
        from anycell.image import Region

        slide = open_image(asked.slide)
        whole = slide.read(Region(0, 0, *slide.shape[1:]))
        sources["slide"] = (np.moveaxis(whole, 0, -1), None)
    asked.out.mkdir(parents=True, exist_ok=True)
    old = earlier(asked.out / "slide.json")
    command = [*old["command"], *([";"] if old["command"] else []), "benchmarks/slide.py"]
    rows: list[dict[str, object]] = []
    for source, (pixels, labels) in sources.items():
        for kind in asked.kinds.split(","):
            for side in map(int, asked.sides.split(",")):
                rows += run(asked, pixels, labels, {"source": source, "kind": kind, "side": side})
                again = {place(row) for row in rows}
                kept = [row for row in old["rows"] if place(row) not in again]
                told = {
                    "machine": platform.machine(),
                    "processors": os.cpu_count(),
                    "command": [*command, *sys.argv[1:]],
                    "rows": sorted([*kept, *rows], key=place),
                }
                (asked.out / "slide.json").write_text(json.dumps(told, indent=1) + "\n")
                plot(told["rows"], asked.out / "slide.png")


def earlier(path: Path) -> dict[str, list[Any]]:
    """Rows and command of an earlier run."""
    if not path.is_file():
        return {"rows": [], "command": []}
    found: dict[str, list[Any]] = json.loads(path.read_text())
    return found


def place(row: dict[str, object]) -> tuple[Any, ...]:
    """What tells one row from another, and their order."""
    return tuple(row[key] for key in ("source", "kind", "model", "cores", "side"))


def run(
    asked: argparse.Namespace,
    pixels: np.ndarray,
    labels: np.ndarray | None,
    row: dict[str, object],
) -> list[dict[str, object]]:
    """Measure one image with each number of cores."""
    side, made = int(str(row["side"])), []
    with tempfile.TemporaryDirectory(dir=asked.out) as folder:
        path = Path(folder) / f"image.{row['kind']}"
        write(pixels, side, path)
        for cores in map(int, asked.cores.split(",")):
            own = [sys.executable, __file__, "-o", str(asked.out), "--model", asked.model]
            own += ["--zoom", str(asked.zoom)] if asked.zoom else []
            own += ["--one", str(path), "--one-cores", str(cores)]
            load = os.getloadavg()[0]
            done = subprocess.run(own, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            told = {"model": asked.model, "cores": cores, "load_before": load}
            if labels is not None and side <= SCORED:
                told["f1"] = score(labels, side, path.with_suffix(".labels.tiff"))
            made.append(row | told | found)
            print(made[-1], flush=True)
    return made


if __name__ == "__main__":
    main()
