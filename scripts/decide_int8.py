"""Quantize a model in several ways, score each, and ship int8 only where F1 does not fall.

    python scripts/decide_int8.py MODEL DATA OUT [--per-group 3] [--keep]

MODEL is a model's folder, DATA a folder with manifest.csv: images for training measure the
ranges, held-out ones judge.  Every candidate and the float graph segment the held-out
images by the default command; their network times are taken in one process, in turns.
The bar: the mean over groups of F1 at IoU 0.5 falls by at most --bar.  Writes
OUT/int8.json; with --keep the best candidate that passes goes into MODEL and is shipped,
and when none passes, int8 is taken out of MODEL.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from anycell.files import open_image, read_labels
from anycell.model import PRECISIONS, load_model, read_about, read_graph
from anycell.predictor import Predictor
from anycell.quantize import Quantization, network_crops, quantize, store_int8
from anycell.runtimes import open_graph
from anycell.samples import Sample, find_samples
from anycell.scores import score_pair
from anycell.segment import segment

CANDIDATES = {
    "percentile": Quantization("percentile"),
    "percentile, first and last three float": Quantization("percentile", first=1, last=5),
    "minmax": Quantization("minmax"),
    "minmax, signed activations": Quantization("minmax", "int8"),
    "entropy": Quantization("entropy"),
}
SIDE = 704
"""Of a tile with a core of 512 and the halo of the shipped network."""


def held_out(data: Path, per_group: int) -> list[Sample]:
    """Held-out samples, all or so many of each group, spread evenly."""
    samples = [s for s in find_samples(data) if s.use == "validate" and s.labels is not None]
    chosen: list[Sample] = []
    for group in sorted({s.group for s in samples}):
        members = [s for s in samples if s.group == group]
        count = min(per_group, len(members)) if per_group else len(members)
        chosen += [members[int(k)] for k in np.linspace(0, len(members) - 1, count).round()]
    return chosen


def scores(model: Predictor, samples: list[Sample]) -> dict[str, float]:
    """Mean F1 at IoU 0.5 of each group, with no option given."""
    found: dict[str, list[float]] = {}
    for sample in samples:
        assert sample.labels is not None
        labels = segment(open_image(sample.image), model).labels
        score = score_pair(labels, read_labels(sample.labels))[0]
        found.setdefault(sample.group, []).append(score.values.f1)
    return {group: float(np.mean(values)) for group, values in found.items()}


def seconds(graphs: dict[str, bytes], repeats: int) -> dict[str, dict[str, float]]:
    """Network seconds per megapixel of each graph, taken in turns in this process."""
    runners = {name: open_graph(graph) for name, graph in graphs.items()}
    tile = np.random.default_rng(0).uniform(0, 1, (1, 3, SIDE, SIDE)).astype(np.float32)
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for k in range(repeats + 1):
        for name, runner in runners.items():
            began = time.perf_counter()
            runner.run(tile)
            if k:
                taken[name].append((time.perf_counter() - began) / (SIDE * SIDE / 1e6))
    return {
        name: {"median": round(statistics.median(v), 4), "least": round(min(v), 4)}
        for name, v in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-group", type=int, default=0, help="0 for every image")
    parser.add_argument("--only", nargs="*", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--bar", type=float, default=0.003)
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    about = read_about(asked.model)
    fp32 = read_graph(asked.model, about, "fp32")
    model = load_model(asked.model, precision="fp32")
    crops = network_crops(find_samples(asked.data), model, Quantization())
    graphs = {name: quantize(fp32, crops, CANDIDATES[name]) for name in asked.only}
    samples = held_out(asked.data, asked.per_group)
    rows: dict[str, dict[str, object]] = {}
    loads = [os.getloadavg()[0]]
    times = seconds({"fp32": fp32, **graphs}, asked.repeats)
    best, f1 = None, {}
    for name, graph in {"fp32": fp32, **graphs}.items():
        folder = asked.out / "candidate"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(asked.model, folder)
        if name != "fp32":
            store_int8(folder, graph, CANDIDATES[name], find_samples(asked.data))
        groups = scores(load_model(folder, precision="fp32" if name == "fp32" else "int8"), samples)
        f1[name] = float(np.mean(list(groups.values())))
        rows[name] = {"f1@0.5": round(f1[name], 4), "groups": groups, "seconds/MP": times[name]}
        rows[name] |= {} if name == "fp32" else {"settings": asdict(CANDIDATES[name])}
        print(name, rows[name]["f1@0.5"], rows[name]["seconds/MP"], flush=True)
        passes = name != "fp32" and f1[name] >= f1["fp32"] - asked.bar
        if passes and (best is None or f1[name] > f1[best]):
            best = name
        shutil.rmtree(folder)
    told = {
        "images": len(samples),
        "per_group": asked.per_group or "all",
        "crops": len(crops),
        "bar": asked.bar,
        "ships": best,
        "cores": os.cpu_count(),
        "load": [*loads, os.getloadavg()[0]],
        "rows": rows,
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "int8.json").write_text(json.dumps(told, indent=1) + "\n")
    print("ships" if best else "no candidate passes; float is shipped", best or "")
    if asked.keep and best:
        store_int8(asked.model, graphs[best], CANDIDATES[best], find_samples(asked.data))
    elif asked.keep:
        drop_int8(asked.model)


def drop_int8(folder: Path) -> None:
    """Take int8 out of a model folder."""
    about = read_about(folder)
    about.pop("int8", None)
    about["precision"] = "fp32"
    (folder / "model.json").write_text(json.dumps(about, indent=1) + "\n")
    for file in PRECISIONS["int8"][:2]:
        (folder / file).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
