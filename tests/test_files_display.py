"""Pictures for people: the stretch, the outlines and their colors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycell.errors import InputError, OutputError
from anycell.files import display, overlay, write_overlay
from anycell.image import Image
from anycell.labels import Labels
from cells import CELLS, draw

RNG = np.random.default_rng(4)


def black(labels: Labels) -> np.ndarray:
    return np.zeros((*labels.shape, 3), np.uint8)


def test_an_8_bit_color_image_is_shown_as_it_is() -> None:
    stored = RNG.integers(0, 256, (3, 1500, 40)).astype(np.uint8)
    image = Image.from_array(stored, channels=("R", "G", "B"))
    np.testing.assert_array_equal(display(image), stored.transpose(1, 2, 0))
    assert display(image, 150).shape == (150, 4, 3)


def test_the_side_is_the_longer_one_and_never_enlarged() -> None:
    image = Image.from_array(RNG.integers(0, 9, (30, 60)).astype(np.uint16))
    assert display(image, 20).shape == (10, 20, 3)
    assert display(image, 1000).shape == (30, 60, 3)
    assert display(image).dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_grey_is_stretched_between_its_percentiles(dtype: type) -> None:
    ramp = np.linspace(20, 120, 90 * 80).reshape(90, 80).astype(dtype)
    shown = display(Image.from_array(ramp))
    assert shown.min() == 0
    assert shown.max() == 255
    np.testing.assert_array_equal(shown[..., 0], shown[..., 1])
    assert (np.diff(shown[:, 40, 0].astype(int)) >= 0).all()
    assert abs(int(shown[45, 0, 0]) - 127) < 5


def test_a_hot_pixel_does_not_darken_the_rest() -> None:
    pixels = RNG.integers(100, 200, (100, 100)).astype(np.uint16)
    pixels[5, 5] = 65_535
    assert 90 < display(Image.from_array(pixels)).mean() < 160


def test_16_bit_color_keeps_its_hue() -> None:
    ramp = np.linspace(0, 4000, 2500).reshape(50, 50)
    image = Image.from_array(
        np.stack([ramp, ramp / 2, ramp / 4]).astype(np.uint16), channels=("R", "G", "B")
    )
    middle = display(image)[25, 25].astype(float)
    np.testing.assert_allclose(middle / middle[0], [1, 0.5, 0.25], atol=0.02)


@pytest.mark.parametrize(
    ("count", "colors"),
    [
        (1, [(255, 255, 255)]),
        (2, [(0, 255, 0), (255, 0, 255)]),
        (3, [(255, 0, 0), (0, 255, 0), (0, 0, 255)]),
    ],
)
def test_channels_have_their_own_hues(count: int, colors: list[tuple[int, int, int]]) -> None:
    pixels = np.zeros((count, 20, 20), np.uint16)
    for i in range(count):
        pixels[i, i * 5 : i * 5 + 5] = 1000
    shown = display(Image.from_array(pixels))
    assert [tuple(shown[i * 5 + 2, 3].tolist()) for i in range(count)] == colors
    assert tuple(shown[19, 3].tolist()) == (0, 0, 0)


def test_nothing_to_stretch() -> None:
    assert display(Image.from_array(np.full((9, 9), 7, np.uint16))).max() == 0
    speck = np.zeros((100, 100), np.uint8)
    speck[3, 3:5] = 9, 3
    assert display(Image.from_array(speck))[3, 3:5, 0].tolist() == [255, 85]
    assert display(Image.from_array(np.eye(30) > 0))[4, 4].tolist() == [255] * 3


def test_what_is_no_number_is_black() -> None:
    pixels = RNG.random((40, 40)).astype(np.float32)
    pixels[0] = np.nan
    pixels[1] = -np.inf
    shown = display(Image.from_array(pixels))
    assert shown[:2].max() == 0
    assert shown[2:].max() == 255
    assert display(Image.from_array(np.full((9, 9), np.nan))).max() == 0


def test_the_outline_is_the_inner_rim() -> None:
    labels = draw("""
        .......
        .aaaab.
        .aaaab.
        .aaaa..
        .......
    """)
    rim = draw("""
        .......
        .aaaaa.
        .a..aa.
        .aaaa..
        .......
    """)
    shown = overlay(black(labels), labels)
    np.testing.assert_array_equal(shown.any(axis=2), rim > 0)


def test_an_outline_is_open_where_the_image_ends() -> None:
    labels = draw("""
        aaa.
        aaa.
        aaa.
    """)
    np.testing.assert_array_equal(
        overlay(black(labels), labels).any(axis=2), [[False, False, True, False]] * 3
    )


def test_the_picture_itself_stays() -> None:
    labels = CELLS["two"]
    picture = RNG.integers(0, 256, (*labels.shape, 3)).astype(np.uint8)
    kept = picture.copy()
    shown = overlay(picture, labels)
    np.testing.assert_array_equal(picture, kept)
    np.testing.assert_array_equal(shown[labels == 0], picture[labels == 0])
    np.testing.assert_array_equal(overlay(picture, labels), shown)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_toy_image_can_be_drawn(name: str) -> None:
    labels = CELLS[name]
    shown = overlay(black(labels), labels)
    assert shown.shape == (*labels.shape, 3)
    assert not shown[labels == 0].any()


def colors_of(labels: Labels) -> dict[int, tuple[int, ...]]:
    shown = overlay(black(labels), labels)
    edge = shown.any(axis=2)
    found: dict[int, set[tuple[int, ...]]] = {}
    for number, color in zip(labels[edge].tolist(), shown[edge].tolist(), strict=True):
        found.setdefault(number, set()).add(tuple(color))
    assert all(len(colors) == 1 for colors in found.values())
    return {number: colors.pop() for number, colors in found.items()}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_neighbors_differ(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).integers(0, 40, (count, 2))
    grid = np.stack(np.mgrid[:40, :40], -1)[:, :, None]
    labels = (((grid - points) ** 2).sum(-1).argmin(-1) + 1).astype(np.int32)
    colors = colors_of(labels)
    for here, there in (
        (labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]),
        (labels[1:, 1:], labels[:-1, :-1]), (labels[1:, :-1], labels[:-1, 1:]),
    ):  # fmt: skip
        pairs = {(a, b) for a, b in zip(here.ravel(), there.ravel(), strict=True) if a != b}
        assert all(colors[int(a)] != colors[int(b)] for a, b in pairs)


@pytest.mark.parametrize("turned", [False, True])
def test_cells_one_pixel_apart_differ_too(turned: bool) -> None:
    labels = np.zeros((9, 24 * 5), np.int32)
    for i in range(24):  # numbers twelve apart, which start with the same hue, lie side by side
        labels[2:7, i * 5 : i * 5 + 4] = 1 + i // 2 + 12 * (i % 2)
    colors = colors_of(labels.T if turned else labels)
    assert all(colors[i] != colors[i + 12] for i in range(1, 13))
    assert all(colors[i] != colors[i + 11] for i in range(2, 13))


def test_a_cell_with_more_neighbors_than_hues() -> None:
    labels = np.zeros((6, 60), np.int32)
    for i in range(20):
        labels[:3, 3 * i : 3 * i + 3] = i + 1
    labels[3:] = 21
    colors = colors_of(labels)
    assert colors[21] not in {colors[i] for i in range(1, 21)}


def test_colors_are_bright() -> None:
    labels = np.arange(1, 401, dtype=np.int32).reshape(20, 20)
    shown = overlay(black(labels), labels).reshape(-1, 3)
    assert (shown @ [0.299, 0.587, 0.114]).min() > 100
    assert len(np.unique(shown, axis=0)) >= 12


def test_numbers_may_be_large_and_sparse() -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[2:5, 2:5] = 2**31 - 1
    labels[5:8, 2:5] = 7
    assert len(colors_of(labels)) == 2


def test_sizes_must_agree() -> None:
    with pytest.raises(InputError, match=r"shape \(4, 5, 3\) and labels of shape \(5, 4\)"):
        overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), int))


def test_the_overlay_is_written_as_png(tmp_path: Path) -> None:
    labels = CELLS["two"]
    write_overlay(black(labels), labels, tmp_path / "o.png")
    with PIL.Image.open(tmp_path / "o.png") as file:
        assert file.format == "PNG"
        np.testing.assert_array_equal(np.array(file), overlay(black(labels), labels))
    with pytest.raises(OutputError, match=r"o\.png cannot be written"):
        write_overlay(black(labels), labels, tmp_path / "missing" / "o.png")
    assert [path.name for path in tmp_path.iterdir()] == ["o.png"]
