"""Axes and channels: never guessed, and every refusal says what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile

from anycell.errors import AxesError, SettingError
from anycell.files import open_image
from anycell.image import Image, Pixels, Region

RNG = np.random.default_rng(2)


def whole(image: Image) -> Pixels:
    _, height, width = image.shape
    return image.read(Region(0, 0, height, width))


def write(path: Path, *shape: int, **options: Any) -> tuple[Path, Pixels]:
    stored = RNG.integers(0, 999, shape).astype(np.uint16)
    tifffile.imwrite(path, stored, **{"photometric": "minisblack", **options})
    return path, stored


@pytest.mark.parametrize("metadata", [None, {}])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_third_axis_without_a_word_asks(
    tmp_path: Path, metadata: dict[str, str] | None, compression: str | None
) -> None:
    path, stored = write(tmp_path / "a.tif", 5, 62, 52, metadata=metadata, compression=compression)
    with pytest.raises(AxesError) as caught:
        open_image(path)
    assert "a.tif has 3 axes of sizes (5, 62, 52)" in caught.value.found
    assert caught.value.expected == "rows, columns and perhaps channels"
    assert caught.value.hint == (
        "--axes CYX if the 5 are channels; if not, save one plane as a file of its own"
    )
    image = open_image(path, axes="CYX")
    np.testing.assert_array_equal(whole(image), stored)
    np.testing.assert_array_equal(image.read(Region(3, 4, 40, 50)), stored[:, 3:40, 4:50])


def test_the_shortest_axis_is_suggested_as_channels(tmp_path: Path) -> None:
    path, stored = write(tmp_path / "a.tif", 62, 52, 5)
    with pytest.raises(AxesError) as caught:
        open_image(path)
    assert caught.value.hint.startswith("--axes YXC if the 5 are channels")
    np.testing.assert_array_equal(whole(open_image(path, axes="YXC")), stored.transpose(2, 0, 1))


@pytest.mark.parametrize(("axes", "what"), [("ZYX", "planes in depth"), ("TYX", "time points")])
def test_an_answered_stack_is_still_a_stack(tmp_path: Path, axes: str, what: str) -> None:
    path, _ = write(tmp_path / "a.tif", 5, 62, 52)
    with pytest.raises(AxesError, match=f"is a stack of 5 {what}") as caught:
        open_image(path, axes=axes)
    assert caught.value.hint == "save one plane as a file of its own"


def test_time_and_depth_together(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "a.tif", 3, 4, 20, 30, metadata={"axes": "TZYX"})
    with pytest.raises(AxesError, match="stack of 3 time points and 4 planes in depth") as caught:
        open_image(path)
    assert caught.value.hint == "save one plane as a file of its own"


def test_a_stack_with_channels(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "a.tif", 4, 3, 20, 30, metadata={"axes": "ZCYX"})
    with pytest.raises(AxesError, match="stack of 4 planes in depth"):
        open_image(path)


def test_axes_of_size_one_may_be_anything(tmp_path: Path) -> None:
    path, stored = write(tmp_path / "a.tif", 1, 5, 1, 20, 30, metadata={"axes": "QIPYX"})
    for axes in ("CYX", "ZCTYX", "TCQYX"):
        np.testing.assert_array_equal(whole(open_image(path, axes=axes)), stored[0, :, 0])


def test_one_row_and_one_pixel(tmp_path: Path) -> None:
    for name, shape in (("row", (1, 30)), ("column", (30, 1)), ("pixel", (1, 1))):
        path, stored = write(tmp_path / f"{name}.tif", *shape)
        np.testing.assert_array_equal(whole(open_image(path)), stored[None])


@pytest.mark.parametrize("axes", ["CY", "YX", "CZYX", "C-X", "CYY", "CXZ", ""])
def test_answers_that_are_no_answers(tmp_path: Path, axes: str) -> None:
    path, _ = write(tmp_path / "a.tif", 5, 62, 52)
    with pytest.raises((SettingError, AxesError)) as caught:
        open_image(path, axes=axes)
    assert "--axes CYX" in caught.value.hint


def test_an_answer_of_the_wrong_length_shows_the_sizes(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "a.tif", 5, 62, 52)
    with pytest.raises(AxesError, match=r"4 letters \(CZYX\) for 3 axes of sizes \(5, 62, 52\)"):
        open_image(path, axes="CZYX")


def test_an_unknown_letter_for_a_long_axis(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "a.tif", 5, 62, 52)
    with pytest.raises(SettingError, match="'QYX': Q for an axis longer than 1"):
        open_image(path, axes="QYX")


def test_channels_that_outnumber_the_pixels(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "a.tif", 62, 52, 3)
    with pytest.raises(AxesError, match="62 channels of 52 x 3 pixels") as caught:
        open_image(path, axes="CYX")
    assert caught.value.hint.startswith("--axes YXC")


def test_an_answer_can_make_a_color(tmp_path: Path) -> None:
    path, stored = write(tmp_path / "a.tif", 3, 20, 30)
    assert open_image(path, axes="SYX").is_color
    assert not open_image(path, axes="CYX").is_color
    path, stored = write(tmp_path / "b.tif", 4, 20, 30)
    np.testing.assert_array_equal(whole(open_image(path, axes="SYX")), stored[:3])
    path, _ = write(tmp_path / "c.tif", 5, 20, 30)
    with pytest.raises(AxesError, match="S of size 5") as caught:
        open_image(path, axes="SYX")
    assert caught.value.hint == "C in place of S for channels"


def test_colors_and_channels_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    stored = np.zeros((2, 20, 30, 3), np.uint8)
    tifffile.imwrite(path, stored, photometric="rgb", metadata={"axes": "CYXS"})
    with pytest.raises(AxesError, match="both channels and colors"):
        open_image(path)


def test_a_color_file_may_be_read_as_channels(tmp_path: Path) -> None:
    stored = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    PIL.Image.fromarray(stored).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png", axes="YXC")
    assert image.channels == ("0", "1", "2")
    np.testing.assert_array_equal(whole(image), stored.transpose(2, 0, 1))


@pytest.fixture
def named(tmp_path: Path) -> tuple[Path, Pixels]:
    names = ["DAPI", "CD3", "CD8", "cd8", "7"]
    return write(
        tmp_path / "a.ome.tif", 5, 20, 30, metadata={"axes": "CYX", "Channel": {"Name": names}}
    )


@pytest.mark.parametrize(
    ("wanted", "picks"),
    [("DAPI", [0]), ("dapi", [0]), ("1,DAPI", [1, 0]), ("CD8,cd8", [2, 3]), ("7", [4]),
     (" 3 , 4 ", [3, 4]), ("4,3,2,1,0", [4, 3, 2, 1, 0]), ("2,2", [2, 2])],
)  # fmt: skip
def test_channels_by_name_and_number(
    named: tuple[Path, Pixels], wanted: str, picks: list[int]
) -> None:
    path, stored = named
    image = open_image(path, channels=wanted)
    np.testing.assert_array_equal(whole(image), stored[picks])
    assert image.shape[0] == len(picks)


def test_an_unknown_channel_lists_what_there_is(named: tuple[Path, Pixels]) -> None:
    with pytest.raises(SettingError, match=r"a\.ome\.tif has no channel 'DAPY'") as caught:
        open_image(named[0], channels="DAPY")
    expected = "channels by number or name: 0 DAPI, 1 CD3, 2 CD8, 3 cd8, 4 7"
    assert caught.value.expected == expected, "in the order of the file"
    assert caught.value.hint == "--channels DAPI"


@pytest.mark.parametrize("wanted", ["5", "-1", "", "0,,1"])
def test_a_channel_number_out_of_range(named: tuple[Path, Pixels], wanted: str) -> None:
    with pytest.raises(SettingError, match="has no channel") as caught:
        open_image(named[0], channels=wanted)
    assert "0 DAPI, 1 CD3, 2 CD8, 3 cd8, 4 7" in caught.value.expected
    assert caught.value.hint == "--channels DAPI"


def test_a_name_that_two_channels_share(tmp_path: Path, named: tuple[Path, Pixels]) -> None:
    with pytest.raises(AxesError, match="has 2 channels called 'Cd8'") as caught:
        open_image(named[0], channels="Cd8")
    assert caught.value.hint == "the number: 2 or 3"


def test_one_plane_asked_for_twice(tmp_path: Path) -> None:
    path, stored = write(tmp_path / "a.tif", 20, 30)
    np.testing.assert_array_equal(whole(open_image(path, channels="0,0")), np.stack([stored] * 2))
