"""How long the judge takes, and how much memory, for a slide full of cells.

Draws a truth of touching ellipses, 200,000 on 10,000 x 10,000 pixels by default, and a
prediction that is the truth shifted by some pixels, renumbered, with every 20th cell
missing and every 30th cut in two, then scores the pair under each of the rules.  Every
rule runs in a process of its own; its peak memory counts both images.

    python benchmarks/evaluate.py --out evaluate.json
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from anycell import __version__
from anycell.labels import Labels
from anycell.matching import RULES
from anycell.scores import score_pair

MIB = 2**20


def slide(side: int, cells: int, seed: int) -> Labels:
    """Touching ellipses, one per field of a grid; about ``cells`` of them."""
    rng = np.random.default_rng(seed)
    rows = round(np.sqrt(cells * 1.25))
    columns = round(cells / rows)
    high, wide = side // rows, side // columns
    labels = np.zeros((side, side), np.int32)
    y = np.arange(high)[:, None, None] - (high - 1) / 2
    x = np.arange(wide)[None, None, :] - (wide - 1) / 2
    for row in range(rows):  # band by band, so that drawing needs no memory to speak of
        radius = rng.uniform(0.42, 0.75, (2, columns))[:, None, :, None]
        inside = (y / (radius[0] * high)) ** 2 + (x / (radius[1] * wide)) ** 2 <= 1
        numbers = 1 + row * columns + np.arange(columns)
        band = np.where(inside, numbers[:, None], 0).reshape(high, columns * wide)
        labels[row * high : (row + 1) * high, : columns * wide] = band
    return labels


def disturb(truth: Labels, shift: int, seed: int) -> Labels:
    """Predict it not quite right."""
    top = int(truth.max())
    numbers = np.random.default_rng(seed).permutation(top).astype(np.int32) + 1
    numbers = np.concatenate([np.zeros(1, np.int32), numbers])
    missing = np.arange(top + 1) % 20 == 7
    split = np.arange(top + 1) % 30 == 11
    prediction = np.zeros_like(truth)
    side = truth.shape[0]
    for y in range(shift, side):  # row by row, for the same reason
        line = truth[y - shift, : side - shift]
        lower = (y // 10) % 2 * top
        prediction[y, shift:] = np.where(missing[line], 0, numbers[line] + lower * split[line])
    return prediction


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Score one pair under one of the rules, in this process."""
    truth = slide(options.side, options.cells, options.seed)
    prediction = disturb(truth, options.shift, options.seed)
    rules = RULES[options.rules]
    if options.iou:
        rules = replace(rules, iou=tuple(options.iou))
    drawn = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    scores = score_pair(prediction, truth, rules)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rules": options.rules,
        "seconds": round(seconds, 2),
        "peak_mib": round(peak),
        "peak_mib_before_scoring": round(drawn),
        "inputs_mib": round((truth.nbytes + prediction.nbytes) / MIB),
        "true": int(len(np.unique(truth)) - 1),
        "predicted": int(len(np.unique(prediction)) - 1),
        "scores": {f"{v.iou:g}": [v.tp, v.fp, v.fn, round(v.values.f1, 4)] for v in scores},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_000, help="rows and columns")
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--shift", type=int, default=3, help="pixels down and right")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iou", type=float, nargs="*", help="thresholds, instead of the rules'")
    parser.add_argument("--rules", choices=list(RULES), help="one of the rules, in this process")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    options = parser.parse_args()
    if options.rules:
        print(json.dumps(measure(options)))
        return
    results = []
    for name in RULES:
        command = [sys.executable, __file__, *sys.argv[1:], "--rules", name]
        answer = subprocess.run(command, capture_output=True, check=True, text=True)
        results.append(json.loads(answer.stdout))
        print(json.dumps(results[-1]))
    content = {
        "anycell": __version__,
        "numpy": np.__version__,
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "side": options.side,
        "results": results,
    }
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
