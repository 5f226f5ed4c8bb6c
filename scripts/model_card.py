"""Write a model's card: what it was made from, how good it is, where it fails.

    anycell segment DATA/validate -o OUT && anycell evaluate OUT DATA/validate -o SCORES
    python scripts/model_card.py DATA SCORES [--model general] [--curves CURVES.csv ...]

DATA holds manifest.csv and sources.json, SCORES the scores.json of its held-out images.
Writes docs/model_card.md with pictures of failures in docs/figures, and, for
``anycell models show``, the text alone as card.md in the model's folder.  Every figure
comes from these files or from model.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.files import display, open_image, overlay, read_labels
from anycell.image import resample
from anycell.labels import areas
from anycell.matching import Rules, match
from anycell.model import PRECISIONS, model_folder, precisions, read_about

ROOT = Path(__file__).resolve().parents[1]
RULES = Rules(iou=(0.5,))
RESAMPLES = 2000
CELLS_ACROSS = 9.0
PICTURE = 224
METRICS = ("f1", "precision", "recall", "ap", "pq")


def interval(groups: list[NDArray[np.float64]]) -> tuple[float, float]:
    """95 % interval of the mean over groups of the mean over images, images drawn anew."""
    random = np.random.default_rng(0)
    draws = [
        values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
        for values in groups
    ]
    low, high = np.percentile(np.mean(draws, axis=0), (2.5, 97.5))
    return float(low), float(high)


def score_rows(scores: dict[str, Any]) -> list[str]:
    """A row for each group of held-out images, and one for their mean."""
    lowest = min(row["iou"] for row in scores["per_image"])
    images = [row for row in scores["per_image"] if row["iou"] == lowest]
    groups = sorted({row["group"] for row in images})
    table: list[list[NDArray[np.float64]]] = []
    heads = ["held-out group", "images", "cells", f"F1@{lowest:g} (95 %)"]
    lines = [
        "| " + " | ".join([*heads, "precision", "recall", "AP", "PQ"]) + " |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for group in groups:
        own = [row for row in images if row["group"] == group]
        values = [np.array([row[metric] for row in own]) for metric in METRICS]
        table.append(values)
        spread = "one image" if len(own) == 1 else "{:.3f} to {:.3f}".format(*interval(values[:1]))
        means = " | ".join(f"{v.mean():.3f}" for v in values[1:])
        cells = sum(row["true"] for row in own)
        lines.append(
            f"| {group} | {len(own)} | {cells:,} | {values[0].mean():.3f} ({spread}) | {means} |"
        )
    low, high = interval([values[0] for values in table])
    means = " | ".join(f"{np.mean([v[k].mean() for v in table]):.3f}" for k in range(1, 5))
    f1 = np.mean([v[0].mean() for v in table])
    cells = sum(row["true"] for row in images)
    lines.append(
        f"| **mean over groups** | {len(images)} | {cells:,} |"
        f" **{f1:.3f}** ({low:.3f} to {high:.3f}) | {means} |"
    )
    return lines


def training_rows(data: Path, about: dict[str, Any]) -> list[str]:
    """A row for each group that the model learned from."""
    sources = json.loads((data / "sources.json").read_text(encoding="utf-8"))
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["use"] in ("train", "unlabeled")]
    lines = ["| group | images | cells | source | licence |", "|---|---:|---:|---|---|"]
    images, bound, absent = 0, [], []
    for group in about["trained_on"]:
        own = [row for row in rows if row["group"] == group]
        if not own:
            absent.append(group)
            continue
        # Groups without labels, of which points may be known, are listed apart.
        source = sources[group] if group in sources else sources[f"unlabelled_{group}"]
        images += len(own)
        bound += [group] if "GPL" in source["licence"] else []
        cells = f"{sum(int(row['cells'] or 0) for row in own):,}"
        if not any(row["labels"] for row in own):
            cells = "points"
        lines.append(
            f"| {group} | {len(own)} | {cells} | {_cell(source['source'])} |"
            f" {_cell(source['licence'])} |"
        )
    if absent:
        rest = about["images"] - images
        names = ", ".join(absent)
        made = about.get("simulated", "anycell simulate")
        lines.append(f"| {names} | {rest} | exact | drawn: {_cell(made)} | none needed |")
    if bound:
        note = (
            f"The repositories that {' and '.join(bound)} come from are under a licence of the GPL"
            " family. Whether such a licence reaches weights learned from the images is not"
            " settled."
        )
        lines += ["", note]
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def effort(about: dict[str, Any], curves: list[Path], watts: float) -> str:
    """How long training took, and what that is in energy at an assumed power."""
    seconds = float(about.get("training_seconds", 0))
    for path in curves:
        with path.open(newline="", encoding="utf-8") as file:
            seconds += max(float(row["seconds"]) for row in csv.DictReader(file))
    recipe = about["recipe"]
    crops = int(about["step"]) * int(recipe["crops"])
    text = (
        f"The last run: {about['step']:,} steps of {recipe['crops']} crops of {recipe['side']} px,"
        f" {crops:,} crops; the runs before it are in the list above."
    )
    if not seconds:
        return text + " How long they took was not recorded for this model."
    kilowatt_hours = watts * seconds / 3.6e6
    took = f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
    return (
        f"{text} It took {took}; at an assumed {watts:g} W for the whole machine (an assumption,"
        f" not a measurement) that is {kilowatt_hours:.2f} kWh."
    )


def confidence_rows(about: dict[str, Any]) -> list[str]:
    """What confidence means, and how well that held on groups left out of the fit."""
    found = about.get("confidence")
    if found is None:
        return ["Confidences are the representation's own; they order cells and are no chances."]
    limit = np.interp(about["min_confidence"], found["raw"], found["chance"])
    told = (
        "Confidence is the chance that a cell has an IoU of at least 0.5 with a true one. The map"
        f" to it was fitted on {found['cells']:,} cells of the held-out groups, each group"
        " weighing the same, so these images were used for it; the table judges maps fitted"
        " without the group, on cells above the limit"
        f" (raw {about['min_confidence']:g}, chance {limit:.2f}). The error is the expected"
        " calibration error in ten bins."
    )
    lines = [
        told,
        "",
        "| group left out | cells | right | mean raw | mean chance | error raw | error |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for group, row in found["held_out"].items():
        lines.append(
            f"| {group} | {row['cells']:,} | {row['right']:.3f} | {row['raw']:.3f} |"
            f" {row['chance']:.3f} | {row['error_raw']:.3f} | {row['error']:.3f} |"
        )
    mean = found["mean_over_groups"]
    lines.append(f"| mean over groups | | | | | {mean['error_raw']:.3f} | {mean['error']:.3f} |")
    return lines


def worst(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """The image of each group with the lowest F1 at the lowest IoU."""
    lowest = min(row["iou"] for row in scores["per_image"])
    images = [row for row in scores["per_image"] if row["iou"] == lowest and not row["missing"]]
    groups = sorted({row["group"] for row in images})
    return [min((r for r in images if r["group"] == g), key=lambda r: r["f1"]) for g in groups]


def picture(row: dict[str, Any], data: Path, out: Path) -> None:
    """Truth and prediction side by side, where the errors are densest."""
    from PIL import Image as Picture
    from scipy.ndimage import uniform_filter

    truth, found = read_labels(Path(row["truth"])), read_labels(Path(row["prediction"]))
    folder = data / "validate" / row["group"] / "images"
    (path,) = [p for p in folder.iterdir() if p.name.split(".")[0] == row["name"]]
    (judged,) = match(found, truth, RULES)
    wrong = np.isin(truth, judged.missed[judged.missed > 0]) | np.isin(
        found, judged.extra[judged.extra > 0]
    )
    size = areas(truth)[1:]
    across = CELLS_ACROSS * float(np.sqrt(np.median(size) * 4 / np.pi)) if len(size) else 256.0
    side = int(np.clip(across, 96, min(640, *truth.shape)))
    crowd = uniform_filter(wrong.astype(np.float32), side, mode="constant")
    half = side // 2
    inside = crowd[half : truth.shape[0] - half + 1, half : truth.shape[1] - half + 1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    cut = (slice(y, y + side), slice(x, x + side))
    shown = display(open_image(path))[cut]
    views = [overlay(*_scaled(shown, labels[cut])) for labels in (truth, found)]
    gap = np.full((PICTURE, 6, 3), 255, dtype=np.uint8)
    together = np.concatenate([views[0], gap, views[1]], axis=1)
    Picture.fromarray(together).save(out, quality=70, method=6)


def _scaled(
    shown: NDArray[np.uint8], labels: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    planes = resample(np.moveaxis(shown, -1, 0).astype(np.float32), (PICTURE, PICTURE))
    rows = ((np.arange(PICTURE) + 0.5) * len(labels) / PICTURE).astype(int)
    small = np.moveaxis(planes, 0, -1).clip(0, 255).astype(np.uint8)
    return small, labels[np.ix_(rows, rows)]


def card(folder: Path, about: dict[str, Any], scores: dict[str, Any], parts: dict[str, Any]) -> str:
    """The text of the card."""
    files = []
    for precision in precisions(about):
        file = PRECISIONS[precision][0]
        size = (folder / file).stat().st_size / 1e6
        digits = (about if precision == "fp32" else about[precision])["sha256"]
        files.append(f"| `{file}` | {precision} | {size:.2f} MB | `{digits}` |")
    asked = about["recipe"]
    if about["step"] < asked["steps"]:  # its time was over before
        asked = {**asked, "steps": f"{about['step']} (of {asked['steps']} at most)"}
    recipe = ", ".join(f"{key} {value}" for key, value in asked.items())
    network = about["network"]
    settings = ", ".join(f"{key} {value}" for key, value in network["settings"].items())
    what = (
        f"Outlines cells or nuclei in brightfield, fluorescence, phase contrast and other"
        f" transmitted light. Method {about['method']}: network {network['name']} ({settings}),"
        f" {about['parameters']:,} parameters, representation {about['representation']['name']}."
        f" Made {about['made'][:10]}. It knows cells of about {about['diameter']:g} px across; the"
        f" zoom that brings an image's cells there is found by `segment`. The weights are under"
        f" the licence of the package, {parts['licence']}."
    )
    how = (
        f"By the rules of the NeurIPS 2022 challenge, no option given, model {parts['hash']}. The"
        " held-out images decided between settings, and some are from experiments that the"
        " training images are from too (codex_expert, dsb2018_stage1test), so the scores are no"
        " promise for a new laboratory's images. The intervals draw images anew within each group"
        f" ({RESAMPLES:,} times); they say nothing of groups that are not here."
    )
    lines = [
        f"# The model `{folder.name}`",
        "",
        what,
        "",
        "| file | precision | size | SHA-256 |",
        "|---|---|---:|---|",
        *files,
        "",
        "## What it learned from",
        "",
        *parts["training"],
        "",
        "## How good it is",
        "",
        how,
        "",
        *score_rows(scores),
        "",
        "## What its confidence means",
        "",
        *parts["confidence"],
        "",
        "## How it was trained",
        "",
        f"Recipe of the last run: {recipe}.",
        "",
        *[f"- {step}" for step in about.get("history", [])],
        "",
        parts["effort"],
        "",
        "## Where it fails",
        "",
        *parts["failures"],
        "",
        f"Made by `{parts['command']}`.",
    ]
    return "\n".join(lines) + "\n"


def failures(scores: dict[str, Any], data: Path, figures: Path, pictures: bool) -> list[str]:
    """The worst image of each group: numbers, and a picture where wanted."""
    lines = [
        "The image with the lowest F1 of each held-out group"
        + (", cut where the errors are densest: truth left, prediction right." if pictures else ".")
    ]
    for row in worst(scores):
        said = (
            f"{row['group']}: F1 {row['f1']:.3f}, {row['tp']:,} of {row['true']:,} cells found,"
            f" {row['fp']:,} outlines that are none, {row['fn']:,} cells missed."
        )
        if pictures:
            path = figures / f"failure_{re.sub(r'[^a-z0-9]+', '_', row['group'])}.webp"
            picture(row, data, path)
            lines += ["", said, "", f"![{row['group']}](figures/{path.name})"]
        else:
            lines += ["", f"- {said}"]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--model", default="general")
    parser.add_argument("--curves", type=Path, nargs="*", default=[])
    parser.add_argument("--watts", type=float, default=65.0)
    asked = parser.parse_args()
    folder = model_folder(asked.model)
    about = read_about(folder)
    scores = json.loads((asked.scores / "scores.json").read_text(encoding="utf-8"))
    run = json.loads((Path(scores["predictions"]) / "run.json").read_text(encoding="utf-8"))
    known = [(about if p == "fp32" else about[p])["sha256"][:16] for p in precisions(about)]
    if run["model"]["hash"] not in known:
        raise SystemExit(f"the scores are of model {run['model']['hash']}, not of {known}")
    command = f"python scripts/model_card.py DATA SCORES --model {folder.name}"
    command += " --curves CURVES" * bool(asked.curves) + f" --watts {asked.watts:g}"
    parts: dict[str, Any] = {
        "hash": run["model"]["hash"],
        "licence": about.get("licence", "BSD-3-Clause"),
        "training": training_rows(asked.data, about),
        "confidence": confidence_rows(about),
        "effort": effort(about, asked.curves, asked.watts),
        "command": command,
    }
    docs = ROOT / "docs"
    for path, pictures in ((docs / "model_card.md", True), (folder / "card.md", False)):
        parts["failures"] = failures(scores, asked.data, docs / "figures", pictures)
        text = card(folder, about, scores, parts)
        if pictures and "confidence" in about and (docs / "figures/reliability.png").is_file():
            mark = "\n## How it was trained"
            text = text.replace(mark, f"\n![Reliability](figures/reliability.png)\n{mark}", 1)
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
