"""Time the container's entry point as the NeurIPS 2022 challenge does: fresh for each image.

    python benchmarks/challenge_time.py [-o OUT] [--images FOLDER] [--sides 512,1000,2000]

Each image lies alone in the folder of inputs, ``container/predict.sh`` is started, and
the clock runs until it has ended.  The real time, and the time that is ranked (what
exceeds 10 s up to 1,000,000 pixels, else 10 s per 1,000,000 pixels; the organisers'
``cellseg_time_eval.py``), go into OUT/challenge_time.json and OUT/challenge_time.png.
Starting Docker itself is not in it.  Processor seconds are noted beside the real ones:
on a busy machine only they tell what an idle one would need.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from anycell.challenge import find_inputs, open_settled, ranked_seconds
from anycell.files import label_path, read_labels

PREDICT = Path(__file__).resolve().parents[1] / "container" / "predict.sh"
SOURCE = Path(__file__).resolve().parents[1] / "src"


def drawn(folder: Path, sides: list[int], modalities: list[str]) -> list[Path]:
    """Simulated fields, mirrored up to each side, as PNG."""
    from PIL import Image as Picture

    from anycell.simulate import simulate

    files = []
    for modality in modalities:
        planes = simulate(modality, (512, 512), diameter=24.0, seed=7).image
        for side in sides:
            copies = -(-side // 512)
            beyond = ((0, 0), (0, (copies - 1) * 512), (0, (copies - 1) * 512))
            wide = np.pad(planes, beyond, mode="symmetric")[:, :side, :side]
            pixels = wide[0] if len(wide) == 1 else np.moveaxis(wide[:3], 0, -1)
            files.append(folder / f"{modality}_{side}.png")
            Picture.fromarray(np.ascontiguousarray(pixels)).save(files[-1])
    return files


def once(file: Path, outputs: Path) -> dict[str, float]:
    """Start the entry point for one image in a folder of its own."""
    with tempfile.TemporaryDirectory() as inputs:
        shutil.copy(file, inputs)
        paths = [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(paths)}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        done = subprocess.run(
            ["sh", str(PREDICT), inputs, str(outputs)],
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        real = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"exit": done.returncode, "real": real, "processor": busy}


def measure(file: Path, repeats: int) -> dict[str, object]:
    """Run one image several times; the medians."""
    image, _ = open_settled(file)
    _, height, width = image.shape
    with tempfile.TemporaryDirectory() as folder:
        runs = [once(file, Path(folder)) for _ in range(repeats)]
        place = label_path(Path(folder), file)
        labels = read_labels(place) if place.exists() else None
    real = statistics.median(run["real"] for run in runs)
    return {
        "image": file.name,
        "height": height,
        "width": width,
        "cells": None if labels is None else int(labels.max(initial=0)),
        "exit": max(int(run["exit"]) for run in runs),
        "real_seconds": round(real, 3),
        "ranked_seconds": round(ranked_seconds(real, height * width), 3),
        "processor_seconds": round(statistics.median(run["processor"] for run in runs), 3),
        "real_of_each_run": [round(run["real"], 3) for run in runs],
    }


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Real time over size, with the tolerance above it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    size = np.array([float(row["height"]) * float(row["width"]) for row in rows]) / 1e6  # type: ignore[arg-type]
    line = np.geomspace(min(0.1, size.min()), max(4.0, size.max()), 50)
    axes.plot(line, 10 * np.maximum(1, line), color="0.6", label="tolerance of the challenge")
    for what, mark in (("real_seconds", "o"), ("processor_seconds", "x")):
        axes.plot(size, [row[what] for row in rows], mark, label=what.replace("_", " "))
    axes.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds per image")
    axes.set_title(f"fresh process per image, {os.cpu_count()} cores, median of runs")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("build/challenge_time"))
    parser.add_argument("--images", type=Path, help="folder of images instead of simulated ones")
    parser.add_argument("--sides", default="512,1000,2000")
    parser.add_argument("--modalities", default="nuclei,phase")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        sides = [int(side) for side in asked.sides.split(",")]
        modalities = asked.modalities.split(",")
        files = (
            find_inputs(asked.images) if asked.images else drawn(Path(folder), sides, modalities)
        )
        rows = []
        for file in files:
            rows.append(measure(file, asked.repeats))
            print(rows[-1], flush=True)
    total = {
        what: round(sum(float(row[what]) for row in rows), 3)  # type: ignore[arg-type]
        for what in ("real_seconds", "ranked_seconds", "processor_seconds")
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    told = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "total": total,
        "rows": rows,
    }
    (asked.out / "challenge_time.json").write_text(json.dumps(told, indent=1) + "\n")
    plot(rows, asked.out / "challenge_time.png")
    print(f"in all: {total}")


if __name__ == "__main__":
    main()
