"""Seams measured: with a model that knows the truth, with a real one, and with a million cells.

    python benchmarks/seams.py [-o OUT] [--slide IMAGE] [--model general] [--core 512]

The five scores of ``anycell.seam_check`` go into OUT/seams.json.  The bars: F1 of tiled against
untiled labels at least 0.999 at IoU 0.9 with the truth, at least 0.99 at 0.5 with the model.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from anycell.files import open_image, read_labels
from anycell.image import Image
from anycell.model import load_model
from anycell.road import Asked, prepare
from anycell.seam_check import check_seams
from anycell.simulate import simulate
from anycell.slides import Target, write_slide
from truth import disks, same_cells, truth

MANY = 1030  # cells along each axis


def million() -> dict[str, object]:
    """Write more than a million cells to disk, tile by tile, and compare with the truth."""
    cell = np.zeros((4, 4), dtype=np.int32)
    cell[:3, :3] = 1
    numbers = np.arange(1, MANY * MANY + 1, dtype=np.int32).reshape(MANY, MANY)
    labels = np.kron(numbers, cell)
    image, predictor = truth(labels, halo=4)
    with tempfile.TemporaryDirectory() as folder:
        written = write_slide(
            prepare(image, predictor, Asked(500)), Target(Path(folder) / "x_label.tiff")
        )
        found = read_labels(Path(folder) / "x_label.tiff")
    return {
        "cells": written.cells,
        "tiles": written.tiles,
        "same_cells": same_cells(found, labels),
        "numbers_1_to_n": len(np.unique(found)) - 1 == int(found.max()) == written.cells,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("bench_out"))
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--model", default="general")
    parser.add_argument("--core", type=int, default=512)
    parser.add_argument("--side", type=int, default=2048)
    asked = parser.parse_args()
    labels = disks((2048, 2048), 6000, (5, 12), 1)
    image, predictor = truth(labels, halo=16)
    told: dict[str, object] = {
        "command": ["benchmarks/seams.py", *sys.argv[1:]],
        "truth": asdict(check_seams(image, predictor, Asked(core=128), asked.side)),
        "million": million(),
    }
    model = load_model(asked.model)
    images = {"histology": simulate("histology", (asked.side,) * 2, diameter=24.0, seed=3).image}
    images["nuclei"] = simulate("nuclei", (asked.side,) * 2, diameter=24.0, seed=3).image
    opened = {name: Image.from_array(pixels) for name, pixels in images.items()}
    if asked.slide:
        opened["slide"] = open_image(asked.slide)
    for name, made in opened.items():
        told[name] = asdict(check_seams(made, model, Asked(core=asked.core), asked.side))
        print(name, told[name], flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "seams.json").write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
