"""Quantize a model in several ways, score each, and ship int8 only where F1 does not fall.

    python scripts/decide_int8.py MODEL DATA OUT [--per-group 3] [--keep]

MODEL is a model's folder, DATA a folder with manifest.csv: images for training measure the
ranges, held-out ones judge.  Every candidate and the float graph segment the held-out
images by the default command; their network times are taken in one process, in turns.
The bars: the mean over groups of F1 at IoU 0.5 falls by at most --bar, and the float graph takes
--gain times as long or more.  A graph that is in MODEL already stays when it passes: others are
better by chance.  Of the others that pass, one with weights in 7 bits, whose products
no processor saturates, comes first, then the one whose outputs are nearest to the float graph's.
Writes OUT/int8.json; with --keep that one goes into MODEL and is shipped, and when none passes,
int8 is taken out of MODEL.
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
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.files import open_image, read_labels
from anycell.model import PRECISIONS, load_model, read_about, read_graph
from anycell.predictor import Predictor
from anycell.quantize import Quantization, network_crops, quantize, store_int8
from anycell.runs import cores
from anycell.runtimes import open_graph
from anycell.samples import Sample, find_samples
from anycell.scores import score_pair
from anycell.segment import segment

CANDIDATES = {
    "percentile": Quantization("percentile"),
    "percentile, weights in 7 bits": Quantization("percentile", narrow=True),
    "percentile, shortcuts left in": Quantization("percentile", apart=False),
    "minmax": Quantization("minmax"),
    "minmax, signed activations": Quantization("minmax", "int8"),
    "minmax, weights in 7 bits": Quantization("minmax", narrow=True),
    "entropy": Quantization("entropy"),
}
SHIPPED = "in the model already"
OPEN, CLOSE = "<!-- int8 -->", "<!-- /int8 -->"
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
    wall: dict[str, list[float]] = {name: [] for name in runners}
    cpu: dict[str, list[float]] = {name: [] for name in runners}
    for k in range(repeats + 1):
        for name, runner in runners.items():
            began, used = time.perf_counter(), time.process_time()
            runner.run(tile)
            if k:
                wall[name].append((time.perf_counter() - began) / (SIDE * SIDE / 1e6))
                cpu[name].append((time.process_time() - used) / (SIDE * SIDE / 1e6))
    return {
        name: {
            "median": round(statistics.median(wall[name]), 4),
            "least": round(min(wall[name]), 4),
            "processor": round(statistics.median(cpu[name]), 4),
        }
        for name in runners
    }


def difference(graph: bytes, fp32: bytes, crops: list[NDArray[np.float32]]) -> float:
    """Mean difference of outputs to those of the float graph, as a share of their mean size."""
    runners = [open_graph(g) for g in (graph, fp32)]
    pairs = [[runner.run(crop) for runner in runners] for crop in crops]
    off = np.mean([np.abs(one - other).mean() for one, other in pairs])
    return float(off / np.mean([np.abs(other).mean() for _, other in pairs]))


def table(rows: dict[str, dict[str, Any]], told: dict[str, Any]) -> list[str]:
    """Markdown for docs/runtimes.md."""
    lines = [
        "| graph | F1 at IoU 0.5 | outputs off by | seconds per MP | of the processor |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        f1 = f"{row['f1@0.5']:.4f}" if "f1@0.5" in row else "-"
        taken = row["seconds/MP"]
        off = f"{row['off']:.1%}" if "off" in row else "-"
        lines.append(
            f"| {name} | {f1} | {off} | {taken['median']:.3f} | {taken['processor']:.3f} |"
        )
    ships = told["ships"]
    end = (
        f"Model {told['hash']}, {told['images']} held-out images ({told['per_group']} of each"
        f" group), ranges measured on {told['crops']} crops of training images, {told['threads']}"
        f" threads; load {told['load'][0]:.1f} to {told['load'][1]:.1f}: the machine was shared."
        f" Bar: F1 falls by at most {told['bar']:g}. "
        + (f"`{ships}` passes." if ships else "No candidate passes: float is shipped.")
    )
    return [*lines, "", end]


def judged(
    folder: Path, graphs: dict[str, bytes], data: Path, chosen: list[Sample]
) -> dict[str, dict[str, float]]:
    """F1 of each group for the float graph and each int8 one, through a copy of the model."""
    found = {}
    for name, graph in graphs.items():
        precision = "fp32" if name == "fp32" else "int8"
        with TemporaryDirectory() as place:
            copy = Path(shutil.copytree(folder, Path(place) / "candidate"))
            if name in CANDIDATES:
                store_int8(copy, graph, CANDIDATES[name], find_samples(data))
            found[name] = scores(load_model(copy, precision=precision), chosen)
        print(name, round(float(np.mean(list(found[name].values()))), 4), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-group", type=int, default=0, help="0 for every image")
    parser.add_argument("--only", nargs="*", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--bar", type=float, default=0.003)
    parser.add_argument("--gain", type=float, default=1.2)
    parser.add_argument("--docs", type=Path, help="a file with marks to put the table between")
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    about = read_about(asked.model)
    fp32 = read_graph(asked.model, about, "fp32")
    samples = find_samples(asked.data)
    crops = network_crops(samples, load_model(asked.model, precision="fp32"), Quantization())
    graphs = {name: quantize(fp32, crops, CANDIDATES[name]) for name in asked.only}
    if "int8" in about:
        graphs = {SHIPPED: read_graph(asked.model, about, "int8"), **graphs}
    load = os.getloadavg()[0]
    rows: dict[str, dict[str, Any]] = {
        name: {"seconds/MP": taken}
        for name, taken in seconds({"fp32": fp32, **graphs}, asked.repeats).items()
    }
    for name, graph in graphs.items():
        plan = asdict(CANDIDATES[name]) if name in CANDIDATES else about["int8"]["settings"]
        rows[name] |= {"off": round(difference(graph, fp32, crops), 4), "settings": plan}
    chosen = held_out(asked.data, asked.per_group)
    f1 = {}
    for name, groups in judged(asked.model, {"fp32": fp32, **graphs}, asked.data, chosen).items():
        f1[name] = float(np.mean(list(groups.values())))
        rows[name] |= {"f1@0.5": round(f1[name], 4), "groups": groups}

    def taken(name: str) -> float:
        return float(rows[name]["seconds/MP"]["processor"])

    passing = [name for name in graphs if f1[name] >= f1["fp32"] - asked.bar]
    # The F1 of those that pass differs by chance; what no processor saturates comes first.
    quick = [name for name in passing if asked.gain * taken(name) <= taken("fp32")]
    narrow = {name: bool(rows[name]["settings"]["narrow"]) for name in quick}
    quick.sort(key=lambda name: (name != SHIPPED, not narrow[name], rows[name]["off"]))
    best = quick[0] if quick else None
    told: dict[str, Any] = {
        "hash": about["sha256"][:16],
        "images": len(chosen),
        "per_group": asked.per_group or "all",
        "crops": len(crops),
        "bar": asked.bar,
        "ships": best,
        "threads": cores(),
        "load": [load, os.getloadavg()[0]],
        "rows": rows,
    }
    write(told, asked.out, asked.docs)
    if asked.keep and best in CANDIDATES:
        store_int8(asked.model, graphs[best], CANDIDATES[best], samples)
    elif asked.keep and not best:
        drop_int8(asked.model)


def write(told: dict[str, Any], out: Path, docs: Path | None) -> None:
    """Write int8.json, and the table into the documentation."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "int8.json").write_text(json.dumps(told, indent=1) + "\n")
    lines = table(told["rows"], told)
    print("\n".join(lines))
    if docs:
        before, _, rest = docs.read_text(encoding="utf-8").partition(OPEN)
        _, _, after = rest.partition(CLOSE)
        docs.write_text("\n".join([before + OPEN, *lines, CLOSE + after]), encoding="utf-8")


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
