"""Time ``segment`` from a thumbnail to a slide, network and decoding apart.

    python benchmarks/segment.py [-o OUT] [--model general] [--sides 512,1024,2048,4096]

Images are simulated fields of nuclei and phase contrast, mirrored up to size.  Each is
segmented ``--repeats`` times; the medians go into OUT/segment.json and OUT/segment.png.
Memory is the peak of a fresh process per side.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STAGES = ("read", "network", "decode", "seams")


def field(side: int, modality: str) -> np.ndarray:
    """Tile a simulated 512 px field, mirrored, to side x side."""
    from anycell.simulate import simulate

    made = simulate(modality, (512, 512), diameter=24.0, seed=7).image
    copies = -(-side // 512)
    rows = [made if k % 2 == 0 else made[:, ::-1] for k in range(copies)]
    tall = np.concatenate(rows, axis=1)
    columns = [tall if k % 2 == 0 else tall[:, :, ::-1] for k in range(copies)]
    return np.ascontiguousarray(np.concatenate(columns, axis=2)[:, :side, :side])


def measure(side: int, modality: str, model_name: str, repeats: int) -> dict[str, object]:
    """Segment one field several times in this process."""
    from anycell.image import Image
    from anycell.model import load_model
    from anycell.segment import segment

    image = Image.from_array(field(side, modality))
    model = load_model(model_name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runs = []
    for _ in range(repeats):
        began, cpu = time.perf_counter(), time.process_time()
        found = segment(image, model)
        wall = time.perf_counter() - began
        runs.append({**found.seconds, "wall": wall, "cpu": time.process_time() - cpu})
    megapixels = side * side / 1e6
    middle = {k: statistics.median(run[k] for run in runs) for k in runs[0]}
    return {
        "side": side,
        "modality": modality,
        "cells": int(found.labels.max()),
        "seconds": {k: round(v, 4) for k, v in middle.items()},
        "seconds_per_megapixel": {k: round(v / megapixels, 4) for k, v in middle.items()},
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "mib_before": before // 1024,
    }


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Bars of seconds per megapixel by stage, one group of bars per side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    names = [f"{row['modality']}\n{row['side']} px" for row in rows]
    width = 0.8 / (len(STAGES) + 1)
    for k, stage in enumerate((*STAGES, "wall")):
        heights = [row["seconds_per_megapixel"][stage] for row in rows]  # type: ignore[index]
        axes.bar(np.arange(len(rows)) + k * width, heights, width, label=stage)
    axes.set_xticks(np.arange(len(rows)) + 0.4, names, fontsize=7)
    axes.set(ylabel="seconds per megapixel", title=f"{os.cpu_count()} cores, median of repeats")
    axes.legend(ncols=5, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--model", default="general")
    parser.add_argument("--sides", default="512,1024,2048,4096")
    parser.add_argument("--modalities", default="nuclei,phase")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("SIDE", "MODALITY"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        row = measure(int(asked.one[0]), asked.one[1], asked.model, asked.repeats)
        print(json.dumps(row))
        return
    rows = []
    for modality in asked.modalities.split(","):
        for side in asked.sides.split(","):
            own = [sys.executable, __file__, "-o", str(asked.out), "--model", asked.model]
            own += ["--repeats", str(asked.repeats), "--one", side, modality]
            done = subprocess.run(own, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(rows[-1], flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    told = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "rows": rows,
    }
    (asked.out / "segment.json").write_text(json.dumps(told, indent=1) + "\n")
    plot(rows, asked.out / "segment.png")


if __name__ == "__main__":
    main()
