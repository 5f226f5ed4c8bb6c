"""What the zoom plan saves: seconds against the size of cells, and against the empty share.

    python benchmarks/zoom.py [-o OUT] [--side 2048] [--modality nuclei] [--slide-side 4096]
                              [--tissues histology,nuclei] [--islands 300,900] [--model general]
                              [--repeats 1] [--docs docs/throughput.md]

Cells.  Simulated fields of SIDE pixels with cells of 12 .. 120 pixels are segmented as they
are, with the zoom that is found, and with ``--zoom 1``: seconds per megapixel and F1 at 0.5.

Empty.  Simulated tissue lies in islands on a blank background that has the noise of a camera,
and covers 100, 50 and 10 % of SLIDE-SIDE pixels.  Islands are smooth random shapes, of about
three times ``--islands`` pixels from shore to shore.  Each slide is segmented with the plan,
and with the plan's zoom everywhere, which skips nothing.  ``lost`` counts the true cells that
are found (IoU of at least 0.5) only without skipping, ``gained`` those only with it;
the style of the image, taken where there are tiles, is another then.  ``in_cores`` is the
share of the slide that some tile answers for, ``outside`` counts the true cells beyond.

Every figure is of a fresh process, the median of ``--repeats``.  ``cpu`` is what it used; on
a machine that others use, ``wall`` is an upper bound.  Writes OUT/zoom.json and OUT/zoom.png,
and, where --docs names a file, two tables between its marks.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DIAMETERS = (12, 17, 24, 34, 48, 68, 96, 120)
EMPTY = (0.0, 0.5, 0.9)
FIELD = 1024
NOISE = 2.0
"""Grey values of 255: the standard deviation of the noise of the blank background."""


def mirrored(plane: np.ndarray, side: int) -> np.ndarray:
    """Mirror the last two axes up to a side, or cut them."""
    place = np.arange(side) % (2 * plane.shape[-1])
    place = np.minimum(place, 2 * plane.shape[-1] - 1 - place)
    return plane[..., place[:, None], place[None, :]]


def field(modality: str, side: int, diameter: float) -> tuple[np.ndarray, np.ndarray]:
    """A simulated field, channels x side x side, and its labels."""
    from skimage.measure import label

    from anycell.simulate import simulate

    for seed in range(100):  # some modalities draw their channels too
        made = simulate(modality, (FIELD, FIELD), diameter=diameter, seed=seed)
        if len(made.image) in (1, 3):
            break
    labels = label(mirrored(made.labels, side), background=0, connectivity=2)
    return np.ascontiguousarray(mirrored(made.image, side)), labels.astype(np.int32)


def islands(
    image: np.ndarray, labels: np.ndarray, empty: float, size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Leave islands of an image on a blank background; cells on their shores are no truth.

    ``size`` is the standard deviation of the Gaussian that shapes the islands, pixels.
    """
    from scipy.ndimage import gaussian_filter, zoom

    if empty == 0.0:
        return image, labels
    rng = np.random.default_rng(3)
    side = image.shape[-1]
    coarse = gaussian_filter(rng.standard_normal((side // 16, side // 16)), size / 16)
    height = zoom(coarse, 16, order=1)[:side, :side]
    land = height > np.quantile(height, empty)
    cut = np.unique(labels[~land])
    whole = np.where(np.isin(labels, cut), 0, labels)
    # Background is what most pixels without a cell look like.
    blank = np.array([np.median(plane[labels == 0]) for plane in image])
    if len(image) == 3:
        blank = np.full(3, 240.0)  # a section ends in glass
    noise = rng.normal(0.0, NOISE, image.shape) + blank[:, None, None]
    out = np.where(land, image, np.clip(noise, 0, 255).astype(np.uint8))
    return out, whole.astype(np.int32)


def measure(path: Path, model_name: str, zoom: float | None) -> dict[str, Any]:
    """Segment a field in this process; its labels go beside it."""
    from anycell.image import Image
    from anycell.model import load_model
    from anycell.runs import peak_memory
    from anycell.segment import segment

    with np.load(path) as stored:
        image = Image.from_array(stored["image"])
    model = load_model(model_name)
    began, cpu = time.perf_counter(), time.process_time()
    found = segment(image, model, zoom=zoom)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    np.save(path.with_suffix(".found.npy"), found.labels)
    return {
        "wall": wall,
        "cpu": cpu,
        "zoom": found.zoom,
        "tiles": found.tiles,
        "cells": int(found.labels.max(initial=0)),
        "in_cores": round(sum(math.prod(v.shape) for v in found.cores) / found.labels.size, 4),
        "peak_bytes": peak_memory(),
        "looked_at": round(found.seconds["scale"], 3),
        "reason": None if found.plan is None else found.plan.reason,
    }


def run(asked: argparse.Namespace, path: Path, zoom: float | None) -> dict[str, Any]:
    """Measure in fresh processes; the medians."""
    own = [sys.executable, __file__, "--model", asked.model, "--one", str(path)]
    own += [] if zoom is None else ["--zoom", repr(zoom)]
    told = []
    for _ in range(asked.repeats):
        done = subprocess.run(own, check=True, capture_output=True, text=True)
        told.append(json.loads(done.stdout.splitlines()[-1]))
    middle = {k: round(statistics.median(v[k] for v in told), 3) for k in ("wall", "cpu")}
    return told[-1] | middle


def counted(labels: np.ndarray) -> int:
    return len(np.unique(labels)) - bool((labels == 0).any())


def matched(truth: np.ndarray, found: np.ndarray) -> set[int]:
    """The true cells that are found."""
    from anycell.matching import Rules, match

    pairs = match(found, truth, Rules(iou=(0.5,), ignore_border=0))[0].pairs
    return {int(pair[1]) for pair in pairs}


def by_size(asked: argparse.Namespace, path: Path) -> list[dict[str, Any]]:
    """Cells of one size after the other."""
    from anycell.scores import score_pair

    rows = []
    for diameter in DIAMETERS:
        image, labels = field(asked.modality, asked.side, diameter)
        np.savez(path, image=image)
        row: dict[str, Any] = {"diameter": diameter, "modality": asked.modality}
        row |= {"megapixels": asked.side**2 / 1e6, "truth": counted(labels)}
        for way, zoom in (("plan", None), ("zoom 1", 1.0)):
            told = run(asked, path, zoom)
            found = np.load(path.with_suffix(".found.npy"))
            f1 = score_pair(found, labels)[0].values.f1
            row[way] = told | {"f1": round(f1, 4)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def by_empty(asked: argparse.Namespace, path: Path) -> list[dict[str, Any]]:
    """Slides with ever more of nothing."""
    rows = []
    for tissue in asked.tissues.split(","):
        whole = field(tissue, asked.slide_side, 24.0)
        for size in map(float, asked.islands.split(",")):
            for empty in EMPTY:
                rows.append(with_empty(asked, path, islands(*whole, empty, size)))
                rows[-1] = {"tissue": tissue, "islands": size, "empty": empty} | rows[-1]
                print(json.dumps(rows[-1]), flush=True)
    return rows


def outside(image: np.ndarray, labels: np.ndarray, model_name: str) -> int:
    """How many true cells have their middle in no core."""
    from scipy.ndimage import center_of_mass

    from anycell.image import Image
    from anycell.model import load_model
    from anycell.road import cores_for
    from anycell.segment import plan_zoom
    from anycell.zones import tiles_of

    given, model = Image.from_array(image), load_model(model_name)
    covered = np.zeros(labels.shape, dtype=np.bool_)
    for tile in tiles_of(plan_zoom(given, model), given, model, cores_for(None, model.halo, given)):
        covered[tile.core.slices] = True
    numbers = np.unique(labels[labels > 0])
    middles = np.array(center_of_mass(labels > 0, labels, numbers)).astype(int)
    return int((~covered[tuple(middles.T)]).sum())


def with_empty(
    asked: argparse.Namespace, path: Path, drawn: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """One slide, with the plan and without skipping."""
    image, labels = drawn
    np.savez(path, image=image)
    row: dict[str, Any] = {"megapixels": labels.size / 1e6, "truth": counted(labels)}
    row["plan"] = run(asked, path, None)
    some = matched(labels, np.load(path.with_suffix(".found.npy")))
    row["no skipping"] = run(asked, path, row["plan"]["zoom"])
    every = matched(labels, np.load(path.with_suffix(".found.npy")))
    row["outside"] = outside(image, labels, asked.model)
    return row | {"found": len(every), "lost": len(every - some), "gained": len(some - every)}


def plot(told: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for way in ("plan", "zoom 1"):
        rows = told["cells"]
        per = [row[way]["cpu"] / row["megapixels"] for row in rows]
        left.plot([row["diameter"] for row in rows], per, "o-", label=way)
        for row, y in zip(rows, per, strict=True):
            left.annotate(f"{row[way]['f1']:.2f}", (row["diameter"], y), fontsize=6)
    left.set(
        xlabel="diameter of the cells, pixels (numbers: F1 at 0.5)",
        ylabel="processor seconds per megapixel",
        xscale="log",
        ylim=(0, None),
    )
    left.set_xticks(DIAMETERS, [str(v) for v in DIAMETERS], fontsize=7)
    left.minorticks_off()
    for key in dict.fromkeys((row["tissue"], row["islands"]) for row in told["empty"]):
        rows = [row for row in told["empty"] if (row["tissue"], row["islands"]) == key]
        for way, line in (("plan", "o-"), ("no skipping", "x--")):
            per = [row[way]["cpu"] / row["megapixels"] for row in rows]
            name = f"{key[0]}, islands {key[1]:g}, {way}"
            right.plot([100 * row["empty"] for row in rows], per, line, label=name)
    right.set(xlabel="% of the slide empty", ylim=(0, None))
    for axes in (left, right):
        if axes.lines:
            axes.legend(fontsize=6)
    figure.savefig(path, dpi=120)


def write_tables(told: dict[str, Any], path: Path) -> None:
    """Put tables between the marks of a document."""
    sizes = [
        "| diameter, px | zoom | CPU s/MP | at zoom 1 | F1@0.5 | at zoom 1 |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in told["cells"]:
        plan, plain = row["plan"], row["zoom 1"]
        per = [f"{part['cpu'] / row['megapixels']:.2f}" for part in (plan, plain)]
        f1 = [f"{part['f1']:.3f}" for part in (plan, plain)]
        cells = [str(row["diameter"]), f"{plan['zoom']:.2f}", *per, *f1]
        sizes.append(f"| {' | '.join(cells)} |")
    empty = [
        (
            "| slide | empty | tiles | in cores | CPU s/MP | no skipping | cells"
            " | outside | found | lost | gained |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in told["empty"]:
        plan, plain = row["plan"], row["no skipping"]
        per = [f"{part['cpu'] / row['megapixels']:.2f}" for part in (plan, plain)]
        cells = [f"{row['tissue']}, islands {row['islands']:g}", f"{row['empty']:.0%}"]
        cells += [f"{plan['tiles']} of {plain['tiles']}", f"{plan['in_cores']:.0%}", *per]
        cells += [f"{row[name]:,}" for name in ("truth", "outside", "found", "lost", "gained")]
        empty.append(f"| {' | '.join(cells)} |")
    text = path.read_text(encoding="utf-8")
    for name, lines in (("sizes", sizes), ("empty", empty)):
        before, _, rest = text.partition(f"<!-- {name} -->")
        after = rest.partition(f"<!-- /{name} -->")[2]
        inside = "\n".join(["", "", *lines, "", ""])
        text = f"{before}<!-- {name} -->{inside}<!-- /{name} -->{after}"
    path.write_text(text, encoding="utf-8")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--modality", default="nuclei")
    parser.add_argument("--slide-side", type=int, default=4096)
    parser.add_argument("--tissues", default="histology,nuclei")
    parser.add_argument("--islands", default="300,900")
    parser.add_argument("--model", default="general")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--parts", default="cells,empty")
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--zoom", type=float, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    asked = options().parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.model, asked.zoom)))
        return
    asked.out.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "command": ["benchmarks/zoom.py", *sys.argv[1:]],
        "load_before": os.getloadavg()[0],
        "repeats": asked.repeats,
        "cells": [],
        "empty": [],
    }
    with tempfile.TemporaryDirectory(dir=asked.out) as folder:
        path = Path(folder) / "field.npz"
        if "cells" in asked.parts:
            told["cells"] = by_size(asked, path)
        if "empty" in asked.parts:
            told["empty"] = by_empty(asked, path)
    (asked.out / "zoom.json").write_text(json.dumps(told, indent=1) + "\n")
    plot(told, asked.out / "zoom.png")
    if asked.docs:
        write_tables(told, asked.docs)


if __name__ == "__main__":
    main()
