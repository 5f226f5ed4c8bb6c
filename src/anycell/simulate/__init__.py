"""Simulated microscopy: random images with exact labels, one door for all modalities.

Shapes are drawn first (:mod:`anycell.simulate.shapes`), then given an optical path,
absorption or density of label, imaged, and sensed.  Method and sources: docs/simulation.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from anycell.errors import SettingError, unknown_name
from anycell.labels import Labels

__all__ = ["HELD_OUT", "MODALITIES", "Modality", "Simulated", "simulate"]

HELD_OUT = 1000
"""Seeds below this one are for tests and demonstrations: training begins here."""


@dataclass(frozen=True)
class Modality:
    """One kind of image: where its renderer stands, and what it shows."""

    render: str
    kind: str
    summary: str


MODALITIES: dict[str, Modality] = {
    "dic": Modality("transmitted:dic", "DIC", "relief of unstained cells"),
    "phase": Modality("transmitted:phase", "phase contrast", "spread or round cells with halos"),
    "brightfield": Modality("transmitted:brightfield", "brightfield", "unstained, out of focus"),
    "quantitative_phase": Modality(
        "transmitted:quantitative_phase", "phase contrast", "optical path, bright on black"
    ),
    "spread_phase": Modality(
        "spread:spread_phase", "phase contrast", "flat cells with thick bodies, debris"
    ),
    "spread_quantitative_phase": Modality(
        "spread:spread_quantitative_phase", "phase contrast", "bright bodies in dim lamellae"
    ),
    "spread_cells": Modality(
        "spread:spread_cells", "fluorescence", "whole flat cells, faint to the outline"
    ),
    "blood": Modality("blood:blood", "brightfield", "stained smear, red and white cells"),
    "histology": Modality("histology:histology", "brightfield", "nuclei in a stained section"),
    "glands": Modality("histology:glands", "brightfield", "pale nuclei in rows, stained section"),
    "nuclei": Modality("fluorescence:nuclei_only", "fluorescence", "nuclei alone"),
    "cells": Modality("fluorescence:cells", "fluorescence", "whole cells in culture"),
    "tissue": Modality("fluorescence:tissue", "fluorescence", "whole cells in crowded tissue"),
    "bacteria_phase": Modality(
        "microbes:bacteria_phase", "phase contrast", "rods, filaments and cocci"
    ),
    "bacteria_fluorescence": Modality(
        "microbes:bacteria_fluorescence", "fluorescence", "rods, filaments and cocci"
    ),
    "yeast_phase": Modality("microbes:yeast_phase", "phase contrast", "budding yeast"),
    "yeast_brightfield": Modality("microbes:yeast_brightfield", "brightfield", "budding yeast"),
}
"""Name -> modality; the renderer is loaded when asked for."""


@dataclass(frozen=True)
class Simulated:
    """A simulated image.

    Attributes
    ----------
    image : uint8, C x H x W.
    channels : one name per channel; ``("R", "G", "B")`` for color.
    labels : int32, H x W; each cell 1..n is one piece connected along rows and columns.
    modality : its name in ``MODALITIES``.
    """

    image: NDArray[np.uint8]
    channels: tuple[str, ...]
    labels: Labels
    modality: str


def simulate(
    modality: str, shape: tuple[int, int] = (512, 512), *, diameter: float = 24.0, seed: int
) -> Simulated:
    """Draw one random image.

    Parameters
    ----------
    modality : a name of ``MODALITIES``.
    shape : rows and columns, at least 1 each.
    diameter : median equivalent diameter of the cells (nuclei where only nuclei are
        shown) in pixels, 4..400.
    seed : not negative; the same seed gives the same image with the same libraries.
        Those below ``HELD_OUT`` are not for training.

    Raises
    ------
    SettingError : an unknown modality (the nearest name is suggested), or a shape,
        diameter or seed out of range.
    """
    from scipy import fft

    from anycell.simulate.scene import Rendered
    from anycell.simulate.sensor import sense

    if modality not in MODALITIES:
        raise unknown_name("modality", modality, MODALITIES)
    if min(shape) < 1:
        raise SettingError(f"shape {shape}", expected="rows and columns, at least 1 each")
    if not 4 <= diameter <= 400:
        raise SettingError(f"diameter {diameter}", expected="4 .. 400 pixels")
    if seed < 0:
        raise SettingError(f"seed {seed}", expected="0 or more")
    module, _, name = MODALITIES[modality].render.partition(":")
    render: Callable[[np.random.Generator, tuple[int, int], float], Rendered]
    render = getattr(import_module(f"anycell.simulate.{module}"), name)
    # Cells are cut by the edge as in life, and the optics' edges lie outside the picture.
    margin = int(np.clip(0.6 * diameter, 8, 64))
    canvas = tuple(fft.next_fast_len(side + 2 * margin) for side in shape)
    crop = (slice(margin, margin + shape[0]), slice(margin, margin + shape[1]))
    key = (seed, zlib.crc32(modality.encode()))
    rng = np.random.default_rng(key)
    rendered = render(rng, canvas, float(diameter))
    for attempt in range(1, 8):
        # A sparse scene can miss the picture; a small picture may have no cell for good.
        if rendered.labels[crop].any():
            break
        rng = np.random.default_rng((*key, attempt))
        rendered = render(rng, canvas, float(diameter))
    labels = _visible(rendered.labels[crop])
    return Simulated(sense(rng, rendered, crop), rendered.channels, labels, modality)


def _visible(labels: Labels) -> Labels:
    """Number the cells of a crop: what the edge cuts in two is seen as two."""
    from skimage.measure import label

    return np.ascontiguousarray(label(labels, connectivity=1), dtype=np.int32)
