"""Pyramids, pixel sizes and channel names of TIFF: ImageJ, OME-TIFF, SVS, NDPI, plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from anycell.errors import AxesError, FormatError, SettingError
from anycell.files import open_image
from anycell.image import Image, Pixels, Region

RNG = np.random.default_rng(5)


def whole(image: Image, level: int = 0) -> Pixels:
    found = image.levels[level]
    return found.read(Region(0, 0, found.height, found.width))


def numbers(*shape: int, dtype: type = np.uint16) -> Pixels:
    return RNG.integers(0, 200, shape).astype(dtype)


def write_pyramid(path: Path, levels: list[Pixels], *, sub: bool, **options: Any) -> Path:
    with tifffile.TiffWriter(path, ome=options.pop("ome", False)) as file:
        first = {"subifds": len(levels) - 1} if sub else {}
        file.write(levels[0], tile=(32, 32), **first, **options)
        options["metadata"] = None
        for one in levels[1:]:
            file.write(one, tile=(32, 32), subfiletype=1, **options)
    return path


@pytest.mark.parametrize("sub", [True, False])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_levels_in_subifds_or_pages(tmp_path: Path, sub: bool, compression: str | None) -> None:
    levels = [numbers(128 // k, 192 // k, 3, dtype=np.uint8) for k in (1, 2, 4)]
    path = write_pyramid(
        tmp_path / "a.tif", levels, sub=sub, photometric="rgb", compression=compression
    )
    image = open_image(path)
    assert [(v.height, v.width) for v in image.levels] == [(128, 192), (64, 96), (32, 48)]
    for i, stored in enumerate(levels):
        np.testing.assert_array_equal(whole(image, i), stored.transpose(2, 0, 1))
    half = open_image(path, level=1)
    assert half.shape == (3, 64, 96)
    assert len(half.levels) == 2
    np.testing.assert_array_equal(
        half.read(Region(3, 40, 20, 90)), levels[1][3:20, 40:90].transpose(2, 0, 1)
    )
    # an overview comes from the level that fits, not from full resolution
    np.testing.assert_allclose(image.overview(48), levels[2].transpose(2, 0, 1), atol=1e-3)


def test_a_level_that_is_not_there(tmp_path: Path) -> None:
    levels = [numbers(64, 64), numbers(32, 32)]
    path = write_pyramid(tmp_path / "a.tif", levels, sub=True, photometric="minisblack")
    with pytest.raises(SettingError, match="has no level 2") as caught:
        open_image(path, level=2)
    assert caught.value.expected.startswith("0 to 1")
    with pytest.raises(SettingError, match="has no level -1"):
        open_image(path, level=-1)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_tiff(tmp_path: Path, compression: str | None) -> None:
    levels = [numbers(3, 64, 96), numbers(3, 32, 48)]
    about = {
        "axes": "CYX",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeY": 0.25,
        "Channel": {"Name": ["DAPI", "Phalloidin", "GFP"]},
    }
    path = write_pyramid(
        tmp_path / "a.ome.tif",
        levels,
        sub=True,
        ome=True,
        photometric="minisblack",
        metadata=about,
        compression=compression,
    )
    image = open_image(path)
    assert image.channels == ("DAPI", "Phalloidin", "GFP")
    assert image.pixel_size == 0.25
    assert image.name == "a"
    np.testing.assert_array_equal(whole(image), levels[0])
    np.testing.assert_array_equal(whole(image, 1), levels[1])
    chosen = open_image(path, channels="gfp, 0", level=1)
    assert chosen.channels == ("GFP", "DAPI")
    assert chosen.pixel_size == 0.5
    np.testing.assert_array_equal(whole(chosen), levels[1][[2, 0]])


@pytest.mark.parametrize(
    ("unit", "size", "expected"),
    [("nm", 325.0, 0.325), ("mm", 0.001, 1.0), ("\u00b5m", 0.5, 0.5), ("pixel", 1.0, None)],
)
def test_units_of_ome_tiff(tmp_path: Path, unit: str, size: float, expected: float | None) -> None:
    about = {f"PhysicalSize{v}": size for v in "XY"} | {f"PhysicalSize{v}Unit": unit for v in "XY"}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, numbers(8, 9), metadata={"axes": "YX", **about})
    assert open_image(path).pixel_size == (pytest.approx(expected) if expected else None)


def test_pixels_that_are_not_square_have_no_one_size(tmp_path: Path) -> None:
    about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.7}
    tifffile.imwrite(tmp_path / "a.ome.tif", numbers(8, 9), metadata=about)
    assert open_image(tmp_path / "a.ome.tif").pixel_size is None


def test_ome_tiff_without_names_or_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, numbers(4, 8, 9), metadata={"axes": "CYX"}, photometric="minisblack")
    image = open_image(path)
    assert image.channels == ("0", "1", "2", "3")
    assert image.pixel_size is None


def test_a_color_ome_tiff(tmp_path: Path) -> None:
    stored = numbers(40, 50, 3, dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", stored, metadata={"axes": "YXS"}, photometric="rgb")
    image = open_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(whole(image), stored.transpose(2, 0, 1))
    assert image.is_color


def test_channels_called_red_green_blue_are_a_color(tmp_path: Path) -> None:
    about = {"axes": "CYX", "Channel": {"Name": ["Red", "Green", "Blue"]}}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, numbers(3, 8, 9), metadata=about, photometric="minisblack")
    assert open_image(path).is_color


def test_several_scenes_in_an_ome_tiff(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for _ in range(2):
            file.write(numbers(40, 50), metadata={"axes": "YX"})
    with pytest.raises(AxesError, match="holds 2 images"):
        open_image(tmp_path / "a.ome.tif")


def test_a_missing_file_of_a_set_is_not_read_as_black(tmp_path: Path) -> None:
    stored = numbers(2, 16, 16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(
        path, stored, metadata={"axes": "CYX"}, photometric="minisblack", compression="zlib"
    )
    data = path.read_bytes()
    uuid = b'<UUID FileName="b.ome.tif">urn:uuid:0</UUID></TiffData>'
    whole_tag = b'<TiffData IFD="0" PlaneCount="2"/>'
    assert whole_tag in data
    new = b'<TiffData IFD="0"/><TiffData FirstC="1">' + uuid
    with tifffile.TiffFile(path) as file:
        text = (file.ome_metadata or "").encode().replace(whole_tag, new)
    tifffile.tiffcomment(path, text)
    with pytest.raises(FormatError, match="plane 1 is missing; it may lie in another file"):
        whole(open_image(path))
    np.testing.assert_array_equal(whole(open_image(path, channels="0")), stored[:1])


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("CYX", (4, 30, 40)), ("ZCYX", (1, 4, 30, 40)), ("TZCYX", (1, 1, 4, 30, 40))],
)
def test_imagej(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    stored = numbers(*shape)
    about = {"axes": axes, "unit": "um", "Labels": ["DAPI", "FITC", "", "Cy5"]}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, imagej=True, resolution=(4.0, 4.0), metadata=about)
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), stored.reshape(4, 30, 40))
    assert image.channels == ("DAPI", "FITC", "2", "Cy5")
    assert image.pixel_size == pytest.approx(0.25)


@pytest.mark.parametrize("unit", ["micron", "\\u00B5m"])
def test_spellings_of_micrometres_in_imagej(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers(6, 7), imagej=True, resolution=(2, 2), metadata={"unit": unit})
    assert open_image(path).pixel_size == pytest.approx(0.5)


def test_imagej_stacks_are_refused_unless_they_are_channels(tmp_path: Path) -> None:
    stored = numbers(5, 30, 40)
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(AxesError, match=r"a\.tif is a stack of 5 planes in depth") as caught:
        open_image(tmp_path / "a.tif")
    assert caught.value.hint.startswith("--axes CYX if the 5 are channels; if not, save one plane")
    np.testing.assert_array_equal(whole(open_image(tmp_path / "a.tif", axes="cyx")), stored)


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20000.0, 20000.0), "CENTIMETER", 0.5),
        ((101600.0, 101600.0), "INCH", 0.25),
        ((300.0, 300.0), "INCH", None),  # a print, not a pixel size
        ((28.35, 28.35), "CENTIMETER", None),
        ((4.0, 4.0), "NONE", None),
    ],
)
def test_resolution_tags(
    tmp_path: Path, resolution: Any, unit: Any, expected: float | None
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, numbers(8, 9), resolution=resolution, resolutionunit=unit)
    size = open_image(path).pixel_size
    assert size == (pytest.approx(expected) if expected else None)


def write_svs(path: Path, levels: list[Pixels], description: str) -> Path:
    options: dict[str, Any] = {"photometric": "rgb", "metadata": None, "compression": "zlib"}
    with tifffile.TiffWriter(path, bigtiff=False) as file:
        file.write(levels[0], tile=(32, 32), description=description, **options)
        file.write(numbers(16, 24, 3, dtype=np.uint8), description="Aperio", **options)
        for one in levels[1:]:
            file.write(one, tile=(32, 32), description=description, **options)
        file.write(numbers(50, 40, 3, dtype=np.uint8), subfiletype=1, **options)
        file.write(numbers(30, 99, 3, dtype=np.uint8), subfiletype=9, **options)
    return path


def test_svs(tmp_path: Path) -> None:
    levels = [numbers(128 // k, 192 // k, 3, dtype=np.uint8) for k in (1, 4)]
    text = "Aperio Image Library v11.2.1 \r\n192x128|AppMag = 40|MPP = 0.2525|Left = 3"
    image = open_image(write_svs(tmp_path / "slide.svs", levels, text))
    assert image.shape == (3, 128, 192)
    assert len(image.levels) == 2
    assert image.pixel_size == pytest.approx(0.2525)
    assert image.is_color
    np.testing.assert_array_equal(whole(image, 1), levels[1].transpose(2, 0, 1))
    np.testing.assert_array_equal(
        image.read(Region(30, 31, 70, 129)), levels[0][30:70, 31:129].transpose(2, 0, 1)
    )


def test_svs_in_jpeg_2000_ycbcr(tmp_path: Path) -> None:
    import PIL.Image

    smooth = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    rgb = np.stack([smooth, smooth // 2, 255 - smooth], -1)
    ycbcr = np.array(PIL.Image.fromarray(rgb).convert("YCbCr"))
    tifffile.imwrite(
        tmp_path / "a.svs",
        ycbcr,
        tile=(32, 32),
        photometric="rgb",
        compression=33003,
        compressionargs={"reversible": True, "codecformat": "j2k", "mct": False},
        metadata=None,
        description="Aperio Image Library|MPP = 0.5",
    )
    found = whole(open_image(tmp_path / "a.svs")).astype(int)
    assert np.abs(found - rgb.transpose(2, 0, 1)).max() <= 3


def test_ndpi(tmp_path: Path) -> None:
    levels = [numbers(64 // k, 96 // k, 3, dtype=np.uint8) for k in (1, 2)]
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path, bigtiff=False) as file:
        for i, one in enumerate([*levels, numbers(11, 23, 3, dtype=np.uint8)]):
            tags = [
                (271, "s", 0, "Hamamatsu", True),
                (65420, "I", 1, 1, True),
                (65421, "f", 1, (20.0, 10.0, -1.0)[i], True),
            ]
            file.write(
                one,
                photometric="rgb",
                metadata=None,
                extratags=tags,
                resolution=(20000 / 2**i, 20000 / 2**i),
                resolutionunit="CENTIMETER",
            )
    image = open_image(path)
    assert [(v.height, v.width) for v in image.levels] == [(64, 96), (32, 48)]
    assert image.pixel_size == pytest.approx(0.5)
    np.testing.assert_array_equal(whole(image, 1), levels[1].transpose(2, 0, 1))
