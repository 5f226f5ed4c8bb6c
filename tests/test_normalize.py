"""One line per channel for the whole image, whatever the samples are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anycell.errors import InputError
from anycell.image import Image, Region
from anycell.normalize import Normalization, fit_normalization, fit_overview, to_model_channels


def ramp(low: float, high: float, dtype: type) -> NDArray[np.generic]:
    return np.linspace(low, high, 1001).round().astype(dtype).reshape(1, 7, 143)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.float32, float])
def test_percentiles_become_zero_and_one(dtype: type) -> None:
    found = fit_overview(ramp(0, 200, dtype))
    assert found.low == pytest.approx([2.0], abs=0.6)
    assert found.high == pytest.approx([199.6], abs=0.6)
    out = found.apply(np.array([[[found.low[0], found.high[0]]]]).astype(dtype))
    assert out.dtype == np.float32
    assert out.ravel() == pytest.approx([0.0, 1.0], abs=0.006)


def test_each_channel_has_its_own_line() -> None:
    pixels = np.concatenate([ramp(0, 10, float), ramp(500, 900, float)])
    out = fit_overview(pixels).apply(pixels)
    assert out[0] == pytest.approx(out[1], abs=0.11)
    assert out[0] != pytest.approx(out[1], abs=1e-6)


def test_the_result_is_clipped_and_the_input_left_alone() -> None:
    found = Normalization(np.array([10.0], np.float32), np.array([20.0], np.float32))
    pixels = np.array([[[0.0, 4.0, 15.0, 26.0, 90.0]]], dtype=np.float32)
    before = pixels.copy()
    assert found.apply(pixels).ravel() == pytest.approx([-0.5, -0.5, 0.5, 1.5, 1.5])
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_channel_becomes_zeros(value: int) -> None:
    pixels = np.full((1, 9, 9), value, dtype=np.uint8)
    assert not fit_overview(pixels).apply(pixels).any()
    other = np.array([[[0, 128, 255]]], dtype=np.uint8)
    assert not fit_overview(pixels).apply(other).any()


def test_a_channel_too_sparse_for_percentiles_keeps_its_contrast() -> None:
    pixels = np.zeros((1, 100, 100), dtype=np.uint8)
    pixels[0, 50, 50:55] = 40
    out = fit_overview(pixels).apply(pixels)
    assert sorted(set(out.ravel().tolist())) == [0.0, 1.0]


def test_bool() -> None:
    pixels = np.zeros((1, 10, 10), dtype=bool)
    pixels[0, :5] = True
    assert np.array_equal(fit_overview(pixels).apply(pixels), pixels.astype(np.float32))


def test_samples_that_are_not_finite_do_not_count() -> None:
    pixels = ramp(0, 200, np.float32).astype(np.float32)
    clean = fit_overview(pixels)
    dirty = pixels.copy()
    dirty[0, 0, :4] = [np.nan, np.inf, -np.inf, np.nan]
    found = fit_overview(dirty)
    assert found.low == pytest.approx(clean.low, abs=1.0)
    assert found.high == pytest.approx(clean.high, abs=1.0)
    assert found.apply(dirty)[0, 0, :4] == pytest.approx([0.0, 1.5, -0.5, 0.0])
    assert np.isfinite(found.apply(dirty)).all()


def test_nothing_but_nan_becomes_zeros() -> None:
    pixels = np.full((1, 4, 4), np.nan)
    assert not fit_overview(pixels).apply(pixels).any()
    with_infinity = np.full((1, 4, 4), np.inf)
    assert not fit_overview(with_infinity).apply(with_infinity).any()


def test_values_beyond_float32() -> None:
    pixels = np.array([[[0.0, 1e300, -1e300, 1.0]]])
    assert np.isfinite(fit_overview(pixels).apply(pixels)).all()


def test_samples_that_are_no_real_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="complex"):
        fit_overview(np.zeros((1, 2, 2), dtype=complex))


def test_another_number_of_channels_is_refused() -> None:
    found = fit_overview(np.zeros((2, 3, 3)))
    with pytest.raises(InputError, match="3 channels"):
        found.apply(np.zeros((3, 3, 3)))


def test_fitting_sees_the_whole_image_and_tiles_share_it() -> None:
    """A part normalized alone would become something else."""
    pixels = np.zeros((1, 64, 64), dtype=np.uint8)
    pixels[0, :, 32:] = 200
    pixels[0, :, :32] = np.arange(64)[:, None] % 8
    image = Image.from_array(pixels)
    found = fit_normalization(image)
    left = found.apply(image.read(Region(0, 0, 64, 32)))
    assert left.max() < 0.05
    assert np.array_equal(left, found.apply(pixels)[:, :, :32])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_model_channels(count: int) -> None:
    pixels = np.random.default_rng(0).random((count, 5, 6)).astype(np.float32)
    out = to_model_channels(pixels)
    assert out.shape == (3, 5, 6)
    assert out.dtype == np.float32
    assert np.array_equal(out[:count], pixels)
    if count == 1:
        assert np.array_equal(out[1], pixels[0])
        assert np.array_equal(out[2], pixels[0])
    if count == 2:
        assert not out[2].any()


def test_more_than_three_channels_are_refused_with_a_way_out() -> None:
    with pytest.raises(InputError, match="--channels"):
        to_model_channels(np.zeros((4, 2, 2), dtype=np.float32))
