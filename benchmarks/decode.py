"""Time and weigh encode, decode and confidence of every representation in the table.

    python benchmarks/decode.py [-o OUT] [--sides 576,1000,5000] [--only votes,flows]

The labels are simulated cells of about 24 px, four modalities side by side, mirrored up to
size.  Decoders see what a network might put out: encoded labels, smoothed, with smooth
noise on every plane; ``ideal`` is the decoder on the encoded labels themselves.  Every
figure comes from a process of its own: the median of ``--repeats`` runs up to 2 MP, of one
run above, and the memory by which its peak rises above what it held before, inputs
included.  576 px is a tile as ``segment`` decodes it.  Decoders run on one core; what is
shown are their processor seconds, which others on the machine disturb least.  Writes
OUT/decode.json, with the seconds on the clock as well, and OUT/decode.png, and prints a
Markdown table.
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
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODALITIES = ("tissue", "nuclei", "yeast_phase", "bacteria_phase")
QUARTER = 512
TILE = 576
STAGES = ("encode", "ideal", "decode", "confidence")
SMOOTH = 1.0
"""Standard deviation of the Gaussian over planes and noise, field pixels."""
NOISE = 0.2
"""Standard deviation of the noise, in those of the plane."""


def field(side: int) -> NDArray[np.int32]:
    """Labels of side x side: four simulated modalities in a square, mirrored and repeated."""
    from skimage.measure import label

    from anycell.simulate import simulate

    shape = (QUARTER, QUARTER)
    quarters = [simulate(m, shape, diameter=24.0, seed=7).labels for m in MODALITIES]
    tops = np.cumsum([0, *(int(q.max()) for q in quarters)])
    a, b, c, d = (np.where(q > 0, q + top, 0) for q, top in zip(quarters, tops[:-1], strict=True))
    square = np.block([[a, b], [c, d]])
    beyond = max(0, side - len(square))
    whole = np.pad(square, ((0, beyond), (0, beyond)), mode="symmetric")[:side, :side]
    # Equal numbers are one cell only where they touch.
    return np.ascontiguousarray(label(whole, connectivity=1), dtype=np.int32)


def disturbed(fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fields as a network might see them: blurred at outlines, and off everywhere."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    out = np.empty_like(fields)
    for k, plane in enumerate(fields):
        noise = gaussian_filter(rng.standard_normal(plane.shape, dtype=np.float32), SMOOTH)
        gaussian_filter(plane, SMOOTH, output=out[k])
        out[k] += noise * (NOISE * plane.std() / noise.std())
    return out


def peak() -> float:
    """The most memory that this process has held so far, MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(name: str, stage: str, repeats: int, folder: Path) -> dict[str, float]:
    """Measure one stage in this process, and leave in ``folder`` what the next one needs."""
    from anycell.representations import representation

    rep = representation(name)
    labels = np.load(folder / "labels.npy")
    small = rep.encode(labels[:64, :64])
    small = rep.decode(small[: rep.channels], (64, 64))  # loads what is imported when needed
    rep.confidence(rep.encode(small)[: rep.channels], small)
    work: Callable[[], NDArray[Any]] = partial(rep.encode, labels)
    if stage != "encode":
        outputs = np.load(folder / ("ideal.npy" if stage == "ideal" else "outputs.npy"))
        work = partial(rep.decode, outputs, labels.shape)
    if stage == "confidence":
        work = partial(rep.confidence, outputs, np.load(folder / "found.npy"))
    before = peak()
    seconds: list[tuple[float, float]] = []
    result: Any = None
    for _ in range(repeats):
        del result
        began, cpu = time.perf_counter(), time.process_time()
        result = work()
        seconds.append((time.perf_counter() - began, time.process_time() - cpu))
    row = {
        "seconds": round(statistics.median(wall for wall, _ in seconds), 5),
        "cpu": round(statistics.median(cpu for _, cpu in seconds), 5),
        "mib": round(peak() - before, 1),
        "mib_before": round(before, 1),
    }
    if stage == "encode":
        np.save(folder / "ideal.npy", result[: rep.channels])
        np.save(folder / "outputs.npy", disturbed(result[: rep.channels]))
    elif stage == "decode":
        np.save(folder / "found.npy", result)
        row["cells"] = int(result.max(initial=0))
    return row


def measure(asked: argparse.Namespace) -> list[dict[str, object]]:
    """Run every stage of every representation at every side, each in its own process."""
    from anycell.representations import REPRESENTATIONS

    names = asked.only.split(",") if asked.only else sorted(REPRESENTATIONS)
    rows: list[dict[str, object]] = []
    for side in (int(s) for s in asked.sides.split(",")):
        repeats = asked.repeats if side * side <= 2_000_000 else 1
        with tempfile.TemporaryDirectory() as folder:
            own = [sys.executable, __file__, "--folder", folder]
            # The parent stays small: on Linux a child's peak is never below its parent's.
            drawn = subprocess.run([*own, "--draw", str(side)], check=True, capture_output=True)
            for name in names:
                row: dict[str, object] = {"representation": name, "side": side}
                row |= json.loads(drawn.stdout)
                for stage in STAGES:
                    ask = [*own, "--one", name, stage, "--repeats", str(repeats)]
                    done = subprocess.run(ask, check=True, capture_output=True)
                    row[stage] = json.loads(done.stdout)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def per_megapixel(row: dict[str, object], stage: str, value: str) -> float:
    """Seconds or MiB of a stage for each megapixel."""
    figure = row[stage][value]  # type: ignore[index]
    return float(figure) / (int(str(row["side"])) ** 2 / 1e6)


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: processor seconds and MiB per megapixel, and tiles a second."""
    heads = ["representation", "side, px", "encode", "decode, ideal", "decode", "confidence"]
    heads += ["decode + confidence", "tiles/s", "MiB/MP: encode", "decode", "confidence"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in rows:
        seconds = {stage: per_megapixel(row, stage, "cpu") for stage in STAGES}
        both = seconds["decode"] + seconds["confidence"]
        tiles = f"{1.0 / (both * TILE * TILE / 1e6):.1f}" if row["side"] == TILE else ""
        cells = [str(row["representation"]), str(row["side"])]
        cells += [f"{seconds[stage]:.3f}" for stage in STAGES] + [f"{both:.3f}", tiles]
        cells += [f"{per_megapixel(row, s, 'mib'):.0f}" for s in STAGES if s != "ideal"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Bars of processor seconds and MiB per megapixel, a row of panels for each side."""
    from matplotlib.figure import Figure

    sides = sorted({int(str(row["side"])) for row in rows})
    figure = Figure(figsize=(13, 3.2 * len(sides)), layout="constrained")
    panels = figure.subplots(len(sides), 2, squeeze=False)
    shown = [stage for stage in STAGES if stage != "ideal"]
    for side, (left, right) in zip(sides, panels, strict=True):
        some = [row for row in rows if row["side"] == side]
        for axes, value, unit in ((left, "cpu", "CPU s / MP"), (right, "mib", "MiB / MP")):
            for k, stage in enumerate(shown):
                place = np.arange(len(some)) + (k - 1) * 0.28
                heights = [max(per_megapixel(row, stage, value), 1e-4) for row in some]
                bars = axes.bar(place, heights, 0.27, label=stage)
                axes.bar_label(bars, fmt="%.2g", fontsize=6)
            axes.set_xticks(np.arange(len(some)), [str(r["representation"]) for r in some])
            axes.set(yscale="log", ylabel=unit, title=f"{side} x {side} px")
            axes.margins(y=0.15)
    panels[0, 0].legend(ncols=3, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--sides", default=f"{TILE},1000,5000")
    parser.add_argument("--only", help="some representations, with commas between")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--draw", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.draw:
        labels = field(asked.draw)
        np.save(asked.folder / "labels.npy", labels)
        share = round(float((labels > 0).mean()), 3)
        print(json.dumps({"cells": int(labels.max()), "foreground": share}))
        return
    if asked.one:
        print(json.dumps(run(*asked.one, asked.repeats, asked.folder)))
        return
    load = os.getloadavg()[0]
    rows = measure(asked)
    asked.out.mkdir(parents=True, exist_ok=True)
    told = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": load,
        "numpy": np.__version__,
        "rows": rows,
    }
    (asked.out / "decode.json").write_text(json.dumps(told, indent=1) + "\n")
    plot(rows, asked.out / "decode.png")
    print(table(rows))


if __name__ == "__main__":
    main()
