"""Time every export, and the way back, on 300,000 cells.

    python benchmarks/exports.py [-o OUT] [--cells 300000] [--formats all] [--diameter 20]

The cells are one field of ellipses, repeated with new numbers until there are enough; the
image is noise of 8 bits.  OUT/exports.json has seconds and file sizes per format.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import time
from pathlib import Path

import numpy as np

FIELD = 1024


def field(diameter: float, seed: int = 1) -> np.ndarray:
    """Ellipses of about one size, packed as they fall, none cut by the edge."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((FIELD, FIELD), np.int32)
    number = 0
    for _ in range(int(4 * (FIELD / diameter) ** 2)):
        long, short = diameter / 2 * rng.uniform(0.8, 1.2, 2)
        cy, cx = rng.uniform(diameter, FIELD - diameter, 2)
        angle = rng.uniform(0, np.pi)
        y0, x0, reach = int(cy - diameter), int(cx - diameter), int(2 * diameter)
        y, x = np.mgrid[y0 : y0 + reach, x0 : x0 + reach]
        along = (y - cy) * np.sin(angle) + (x - cx) * np.cos(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        inside = (along / long) ** 2 + (across / short) ** 2 <= 1
        window = labels[y0 : y0 + reach, x0 : x0 + reach]
        if (window[inside] == 0).all():
            number += 1
            window[inside] = number
    return labels


def plane(cells: int, diameter: float) -> np.ndarray:
    """Fields side by side, numbered on, with at least so many cells."""
    one = field(diameter)
    count = int(one.max())
    side = int(np.ceil(np.sqrt(cells / count)))
    labels = np.zeros((side * FIELD, side * FIELD), np.int32)
    for k in range(side * side):
        y, x = (v * FIELD for v in divmod(k, side))
        labels[y : y + FIELD, x : x + FIELD] = np.where(one > 0, one + k * count, 0)
    labels[labels > cells] = 0
    return labels


def size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def main() -> None:
    from anycell.exports import parse_formats, write_exports
    from anycell.files import read_labels
    from anycell.image import Image
    from anycell.measure import measure

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--cells", type=int, default=300_000)
    parser.add_argument("--diameter", type=float, default=20.0)
    parser.add_argument("--formats", default="all")
    parser.add_argument("--keep", action="store_true", help="leave the files where they are")
    asked = parser.parse_args()
    labels = plane(asked.cells, asked.diameter)
    noise = np.random.default_rng(0).integers(0, 256, (1, *labels.shape)).astype(np.uint8)
    image = Image.from_array(noise, pixel_size=0.5)
    known = np.random.default_rng(1).random(asked.cells).astype(np.float32)
    files = asked.out / "exports"
    files.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []

    def timed(name: str, began: tuple[float, float], **more: object) -> None:
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        rows.append({"what": name, "seconds": round(wall, 2), "cpu": round(cpu, 2), **more})
        print(rows[-1], flush=True)

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    began = now()
    cells = measure(labels, image, confidence=known)
    timed("measure", began)
    for form in parse_formats(asked.formats):
        began = now()
        (path,) = write_exports(cells, image, files, "a", [form])
        timed(f"write {form}", began, megabytes=round(size(path) / 1e6, 1))
        if form not in ("csv", "overlay"):
            began = now()
            found = read_labels(path, shape=labels.shape)
            timed(f"read {form}", began, same=bool((found == labels).all()))
        if not asked.keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    told = {
        "cells": len(cells.number),
        "rows": labels.shape[0],
        "columns": labels.shape[1],
        "median_area_px": float(np.median(cells.area)),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "results": rows,
    }
    (asked.out / "exports.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
