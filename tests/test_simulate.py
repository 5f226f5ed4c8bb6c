"""Simulated images: the same from the same seed, labels exact, every modality alive."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from anycell.errors import SettingError
from anycell.labels import areas, edge_labels
from anycell.simulate import MODALITIES, Simulated, simulate
from anycell.simulate.dataset import write_dataset
from anycell.simulate.noise import field, grain
from anycell.simulate.optics import defocus, phase_contrast, relief
from anycell.simulate.scene import Rendered
from anycell.simulate.sensor import sense
from anycell.simulate.shapes import Bodies, lay_out

SEEDS = range(4)
EVERY = pytest.mark.parametrize("modality", MODALITIES)


@cache
def usual(modality: str, seed: int) -> Simulated:
    return simulate(modality, (144, 160), diameter=24, seed=seed)


def digest(modality: str) -> str:
    made = simulate(modality, (40, 56), diameter=12, seed=7)
    return hashlib.sha256(made.image.tobytes() + made.labels.tobytes()).hexdigest()


@EVERY
def test_a_seed_gives_one_image_and_another_seed_another(modality: str) -> None:
    first = usual(modality, 1)
    np.random.seed(0)  # noqa: NPY002 - the global state must not matter
    again = simulate(modality, (144, 160), diameter=24, seed=1)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, usual(modality, 2).labels)


def test_another_process_gives_the_same_images() -> None:
    code = f"from test_simulate import digest; [print(digest(m)) for m in {list(MODALITIES)}]"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "5"},
        cwd=Path(__file__).parent,
    )
    assert found.stdout.split() == [digest(m) for m in MODALITIES]


@EVERY
@pytest.mark.parametrize(
    ("shape", "diameter"),
    [
        ((1, 1), 4),
        ((3, 50), 24),
        ((64, 64), 5),
        ((97, 131), 24),
        ((130, 80), 61.5),
        ((40, 56), 400),
    ],
)
def test_every_modality_at_every_size(
    modality: str, shape: tuple[int, int], diameter: float
) -> None:
    made = simulate(modality, shape, diameter=diameter, seed=3)
    assert made.modality == modality
    assert made.image.dtype == np.uint8
    assert made.image.shape == (len(made.channels), *shape)
    assert 1 <= len(made.channels) <= 3
    check_exact(made.labels, shape)


def check_exact(labels: NDArray[np.int32], shape: tuple[int, int]) -> None:
    """Numbered 1..n, each one piece along rows and columns."""
    assert labels.dtype == np.int32
    assert labels.shape == shape
    numbers = np.unique(labels[labels > 0])
    assert np.array_equal(numbers, np.arange(1, len(numbers) + 1))
    assert label(labels, connectivity=1).max() == len(numbers)


@EVERY
def test_no_picture_is_empty_and_no_two_modalities_share_their_seed(modality: str) -> None:
    for seed in SEEDS:
        check_exact(usual(modality, seed).labels, (144, 160))
        assert usual(modality, seed).labels.max() > 0
        assert usual(modality, seed).image.std() > 1
    others = [m for m in MODALITIES if m != modality]
    assert all(not np.array_equal(usual(m, 0).labels, usual(modality, 0).labels) for m in others)


@EVERY
def test_cells_have_the_diameter_that_was_asked_for(modality: str) -> None:
    sizes: list[float] = []
    for seed in SEEDS:
        labels = usual(modality, seed).labels
        whole = np.setdiff1d(np.arange(1, labels.max() + 1), edge_labels(labels))
        sizes.extend(np.sqrt(4 / np.pi * areas(labels)[whole]))
    assert 19 < np.median(sizes) < 28


def gradient(made: Simulated) -> NDArray[np.float64]:
    """The steepest channel's gradient, after a slight blur, in its own spread."""
    out = []
    for plane in made.image.astype(float):
        size = ndimage.gaussian_gradient_magnitude(plane, 1.0)
        out.append(size / max(float(size.std()), 1e-9))
    return np.max(out, axis=0)


def outline_contrast(made: Simulated, shift: int) -> float:
    """Mean gradient along the outlines of labels moved by ``shift`` pixels, over the mean."""
    labels = np.roll(made.labels, (shift, shift), axis=(0, 1))
    moved = np.zeros(labels.shape, dtype=bool)
    moved[:-1] |= labels[:-1] != labels[1:]
    moved[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    inner = (slice(abs(shift) + 2, -abs(shift) - 2),) * 2
    slope = gradient(made)
    return float(slope[inner][moved[inner]].mean() / slope[inner].mean())


@EVERY
def test_outlines_lie_where_the_image_changes(modality: str) -> None:
    made = [usual(modality, seed) for seed in SEEDS]
    here = np.mean([outline_contrast(m, 0) for m in made])
    for shift in (-6, 6):
        away = np.mean([outline_contrast(m, shift) for m in made])
        assert here > 1.08 * away, f"{here:.2f} in place, {away:.2f} moved by {shift}"


@pytest.mark.parametrize(
    "modality", ["nuclei", "cells", "spread_cells", "tissue", "bacteria_fluorescence"]
)
def test_fluorescent_cells_are_brighter_than_the_background(modality: str) -> None:
    for seed in SEEDS:
        made = usual(modality, seed)
        grey = made.image.astype(float).mean(axis=0)
        assert grey[made.labels > 0].mean() > grey[made.labels == 0].mean()


@pytest.mark.parametrize("modality", ["spread_quantitative_phase", "spread_cells"])
def test_spread_cells_are_faint_to_the_outline_but_not_dark(modality: str) -> None:
    rim, inner, outside = [], [], []
    for seed in SEEDS:
        made = usual(modality, seed)
        depth = ndimage.distance_transform_edt(made.labels > 0)
        grey = made.image[0].astype(float)
        rim.append(grey[(depth > 1) & (depth < 3)].mean())
        inner.append(grey[depth > 6].mean())
        outside.append(grey[ndimage.distance_transform_edt(made.labels == 0) > 3].mean())
    contrast = np.array([rim, inner]) - outside
    assert (contrast > 0).all()
    assert (contrast[1] > 1.2 * contrast[0]).all(), contrast
    assert np.mean(contrast[1] / contrast[0]) > 1.4, contrast


@pytest.mark.parametrize("modality", ["blood", "histology"])
def test_stained_cells_absorb(modality: str) -> None:
    for seed in SEEDS:
        made = usual(modality, seed)
        assert made.channels == ("R", "G", "B")
        assert made.image[1][made.labels > 0].mean() < made.image[1][made.labels == 0].mean()


@pytest.mark.parametrize(
    ("wrong", "near"), [("dicc", "dic"), ("bloood", "blood"), ("yeast_fase", "yeast_phase")]
)
def test_an_unknown_modality_suggests_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(SettingError) as caught:
        simulate(wrong, seed=0)
    assert caught.value.hint == near
    assert wrong in caught.value.found


@pytest.mark.parametrize(
    ("shape", "diameter", "seed"),
    [((0, 5), 24, 0), ((5, 5), 3, 0), ((5, 5), 500, 0), ((5, 5), 9, -1)],
)
def test_settings_out_of_range(shape: tuple[int, int], diameter: float, seed: int) -> None:
    with pytest.raises(SettingError, match="expected"):
        simulate("dic", shape, diameter=diameter, seed=seed)


def test_two_discs_meet_halfway_and_the_lower_in_order_lies_on_top() -> None:
    bodies = Bodies.of(np.array([[30.0, 24.0], [30.0, 40.0]]), np.array([10.0, 10.0]), np.zeros(2))
    side = lay_out(bodies, (60, 64))
    assert side.labels[30].tolist().index(2) == 32
    alone = np.pi * 100
    pile = lay_out(bodies, (60, 64), order=np.array([1.0, 0.0]))
    assert areas(pile.labels)[2] == pytest.approx(alone, rel=0.04)
    assert areas(pile.labels)[1] < 0.95 * alone
    assert side.rho[30, 24] == 0
    assert side.rho[30, 15] == pytest.approx(0.9)
    assert side.rho[0, 0] == 1


def test_a_cell_that_another_cuts_keeps_one_piece() -> None:
    center = np.array([[30.0, 30.0], [30.0, 30.0]])
    crossing = Bodies.of(
        center,
        np.array([[3.0, 3.0], [3.0, 3.0]]),
        np.array([0.0, np.pi / 2]),
        core=np.array([20.0, 20.0]),
    )
    found = lay_out(crossing, (60, 60), order=np.array([1.0, 0.0]), smallest=0.2)
    check_exact(found.labels, (60, 60))
    assert found.count == 2
    assert (found.rho[found.labels == 0] == 1).all()


def test_dic_of_a_ramp_is_even_and_shows_its_direction() -> None:
    y, x = np.mgrid[:40, :40].astype(np.float32)
    for angle, slope in ((0.0, 0.3), (np.pi / 2, 0.1)):
        seen = relief(0.3 * x + 0.1 * y, angle, 1.0, 2.0)
        assert np.allclose(seen, np.sin((1.0 + 2 * slope) / 2) ** 2, atol=1e-5)


def test_phase_contrast_dims_the_background_and_darkens_cells_inside_a_halo() -> None:
    path = np.zeros((128, 128), dtype=np.float32)
    assert np.allclose(phase_contrast(path, 8, 0.5, negative=False), 0.25, atol=1e-4)
    y, x = np.mgrid[:128, :128] - 64
    path[y**2 + x**2 < 12**2] = 0.5
    seen = phase_contrast(path, 8, 0.5, negative=False)
    assert seen[64, 64] < 0.9 * 0.25 < 1.05 * 0.25 < seen[64, 64 + 15]
    assert phase_contrast(path, 8, 0.5, negative=True)[64, 64] > 1.1 * 0.25


def test_defocus_follows_the_transport_of_intensity() -> None:
    wave = 2 * np.pi * np.arange(96) / 32
    path = np.broadcast_to(0.05 * np.cos(wave), (96, 96)).astype(np.float32)
    distance = 6.0
    curvature = -((2 * np.pi / 32) ** 2) * path
    expected = 1 - distance / (2 * np.pi) * curvature
    assert np.allclose(defocus(path, None, distance, 0.0), expected, atol=3e-4)
    lost = np.full((96, 96), 0.2, dtype=np.float32)
    assert np.allclose(defocus(0 * path, lost, 0.0, 0.0), np.exp(-0.4), atol=1e-5)


def test_shot_noise_has_the_variance_of_its_signal() -> None:
    rng = np.random.default_rng(0)
    level = np.full((1, 400, 400), 0.5, dtype=np.float32)
    scene = Rendered(level, ("grey",), np.zeros((400, 400), dtype=np.int32), 400.0, 0.0)
    seen = sense(rng, scene, (slice(0, 400), slice(0, 400)))
    assert seen.mean() == pytest.approx(127.5, abs=0.5)
    assert seen.std() == pytest.approx(255 * np.sqrt(0.5 / 400), rel=0.03)


@pytest.mark.parametrize("scale", [1.5, 3.9, 4.1, 16.0])
def test_fields_have_unit_variance_and_their_scale(scale: float) -> None:
    rng = np.random.default_rng(2)
    made = field(rng, (400, 400), scale)
    assert made.std() == pytest.approx(1, rel=0.15)
    likeness = float(np.mean(made[:, 1:] * made[:, :-1]) / np.mean(made**2))
    assert 1 - 1.5 / scale**2 < likeness < 1 - 0.3 / scale**2
    assert grain(rng, (300, 300), 2.0).std() == pytest.approx(1, rel=0.1)


def test_a_dataset_is_what_train_reads(tmp_path: Path) -> None:
    from anycell.files import open_image, read_labels
    from anycell.samples import find_samples

    cells = write_dataset(tmp_path, 2, modalities=["phase", "cells"], seed=3)
    samples = find_samples(tmp_path)
    assert {(s.group, s.use) for s in samples} == {
        ("simulated_phase", "train"),
        ("simulated_fluorescence", "train"),
    }
    assert len(samples) == 4
    assert sum(s.cells for s in samples) == cells
    for sample in samples:
        assert sample.labels is not None
        labels = read_labels(sample.labels)
        assert int(labels.max()) == sample.cells
        assert open_image(sample.image).shape[1:] == labels.shape
    with pytest.raises(SettingError, match="phase"):
        write_dataset(tmp_path, 1, modalities=["fase"])
