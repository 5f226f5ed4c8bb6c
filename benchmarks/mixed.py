"""Slides whose cells are of several sizes, with exact labels, to compare ways of zooming on.

    python benchmarks/mixed.py DATA [--side 4096] [--seed 40]
    anycell compare DATA -o OUT --models general --zoom-scheme none,diameter,plan

Each slide is made of four quarters, simulated one by one: three with cells of 12, 30 and 75
pixels, and one that is empty but for the camera's noise.  They meet somewhere near the middle
of the slide, not where a quadtree would cut it.  Cells end where their quarter does,
as at the edge of any image.  Seeds are below 1,000, so nothing was trained on these images.
DATA is laid out as training data are, all of it held out, one group for each modality.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

DIAMETERS = (12.0, 30.0, 75.0)
MODALITIES = ("nuclei", "histology", "phase", "bacteria_phase")
KINDS = {"nuclei": "fluorescence", "histology": "brightfield"}
MEET = (0.35, 0.65)
"""Share of the side at which quarters meet, least and most."""
NOISE = 2.0
"""Grey values of 255: the standard deviation of the noise of the empty quarter."""


def quarter(
    modality: str, shape: tuple[int, int], diameter: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate a quarter, rows x columns x 3, and its labels."""
    from anycell.simulate import simulate

    made = simulate(modality, shape, diameter=diameter, seed=seed)
    pixels = np.moveaxis(made.image, 0, -1)
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels[:, :, :1], 3, axis=2), made.labels


def slide(modality: str, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Put four quarters together; where they meet, and which is where, depends on the seed."""
    random = np.random.default_rng(seed)
    y, x = (int(side * random.uniform(*MEET)) for _ in range(2))
    pixels = np.zeros((side, side, 3), np.uint8)
    labels = np.zeros((side, side), np.int32)
    corners = [(slice(*v), slice(*w)) for v in ((0, y), (y, side)) for w in ((0, x), (x, side))]
    backgrounds = []
    *places, last = (corners[k] for k in random.permutation(4))
    for number, (diameter, place) in enumerate(zip(DIAMETERS, places, strict=True)):
        image, cells = quarter(modality, labels[place].shape, diameter, seed + number)
        pixels[place] = image
        cells[cells > 0] += labels.max()
        labels[place] = cells
        outside = image[cells == 0]
        backgrounds.append(np.median(outside, axis=0) if len(outside) else np.zeros(3))
    noise = random.normal(0.0, NOISE, (*labels[last].shape, 1))
    empty = np.mean(backgrounds, axis=0) + noise
    pixels[last] = np.clip(np.rint(empty), 0, 255)
    return pixels, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=40)
    parser.add_argument("--modalities", default=",".join(MODALITIES))
    asked = parser.parse_args()
    import tifffile

    rows = []
    for modality in asked.modalities.split(","):
        folder = asked.data / modality
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        pixels, labels = slide(modality, asked.side, asked.seed)
        tifffile.imwrite(
            folder / "images" / "mixed.tif", pixels, tile=(512, 512), photometric="rgb",
            compression="zlib",
        )  # fmt: skip
        tifffile.imwrite(folder / "labels" / "mixed.tif", labels, compression="zlib")
        kind = KINDS.get(modality, "phase")
        place = f"{modality}/images/mixed.tif", f"{modality}/labels/mixed.tif"
        rows.append(("validate", modality, *place, kind))
        print(f"{modality}: {labels.max()} cells")
    with (asked.data / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("use", "group", "image", "labels", "modality"), *rows])


if __name__ == "__main__":
    main()
