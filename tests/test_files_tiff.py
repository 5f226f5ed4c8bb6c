"""TIFF of all kinds comes back exactly, whole and by region."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycell.errors import AxesError, FormatError
from anycell.files import open_image
from anycell.image import Image, Pixels, Region

RNG = np.random.default_rng(11)
RGB = ("R", "G", "B")


def whole(image: Image) -> Pixels:
    _, height, width = image.shape
    return image.read(Region(0, 0, height, width))


def write(path: Path, array: Pixels, **options: Any) -> Path:
    tifffile.imwrite(path, array, **options)
    return path


def numbers(*shape: int, dtype: type = np.uint16) -> Pixels:
    return RNG.integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize(
    "dtype",
    [np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float16,
     np.float32, np.float64],
)  # fmt: skip
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_every_type_of_sample(tmp_path: Path, dtype: type, byteorder: Any, tile: Any) -> None:
    stored = (numbers(37, 53) > 99).astype(dtype) if dtype == np.bool_ else numbers(37, 53) * 0.5
    stored = stored.astype(dtype)
    path = write(tmp_path / "a.tif", stored, byteorder=byteorder, tile=tile)
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), stored[None])
    assert image.dtype == dtype
    assert whole(image).dtype == np.dtype(dtype)
    assert image.channels == ("0",)


LAYOUTS: dict[str, dict[str, Any]] = {
    "one piece": {},
    "strips": {"rowsperstrip": 7},
    "strips, zlib": {"rowsperstrip": 7, "compression": "zlib", "predictor": True},
    "one strip, zlib": {"rowsperstrip": 61, "compression": "zlib"},
    "tiles": {"tile": (16, 16)},
    "tiles, lzw": {"tile": (32, 16), "compression": "lzw"},
    "tiles, zstd": {"tile": (64, 64), "compression": "zstd"},
    "BigTIFF": {"bigtiff": True, "tile": (16, 16)},
    "packbits": {"compression": "packbits"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_color_in_every_layout(tmp_path: Path, layout: str, planar: str) -> None:
    stored = numbers(61, 45, 3, dtype=np.uint8)
    given_ = stored if planar == "contig" else stored.transpose(2, 0, 1)
    options = {"photometric": "rgb", "planarconfig": planar, **LAYOUTS[layout]}
    image = open_image(write(tmp_path / "a.tif", given_, **options))
    np.testing.assert_array_equal(whole(image), stored.transpose(2, 0, 1))
    assert image.channels == RGB
    part = image.read(Region(13, 15, 50, 18))
    np.testing.assert_array_equal(part, stored[13:50, 15:18].transpose(2, 0, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("axes", "shape"),
    [("CYX", (5, 61, 45)), ("YXC", (61, 45, 5)), ("YCX", (61, 5, 45)), ("ZCYX", (1, 5, 61, 45)),
     ("TZCYX", (1, 1, 5, 61, 45)), ("CYXS", (5, 61, 45, 1))],
)  # fmt: skip
def test_named_axes_in_every_layout(
    tmp_path: Path, layout: str, axes: str, shape: tuple[int, ...]
) -> None:
    stored = numbers(*shape)
    options = {"photometric": "minisblack", "metadata": {"axes": axes}, **LAYOUTS[layout]}
    image = open_image(write(tmp_path / "a.tif", stored, **options), channels="3,0,1")
    order = [axes.index(v) for v in "CYX"]
    expected = stored.transpose(*order, *(i for i in range(len(axes)) if i not in order))
    expected = expected.reshape(5, 61, 45)[[3, 0, 1]]
    np.testing.assert_array_equal(whole(image), expected)
    assert image.channels == ("3", "0", "1")
    np.testing.assert_array_equal(image.read(Region(20, 0, 33, 45)), expected[:, 20:33])


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Image], Pixels]:
    stored = numbers(3, 70, 93)
    folder = tmp_path_factory.mktemp("tiled")
    kinds: list[dict[str, Any]] = [
        {"tile": (16, 32), "compression": "zlib"},
        {"rowsperstrip": 9, "compression": "lzw"},
        {"tile": (32, 16), "planarconfig": "separate", "compression": "zlib"},
        {},
    ]
    images = []
    for i, options in enumerate(kinds):
        path = folder / f"{i}.tif"
        write(path, stored, photometric="minisblack", metadata={"axes": "CYX"}, **options)
        images.append(open_image(path))
    return images, stored


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_region_is_the_whole_cut(
    tiled: tuple[list[Image], Pixels], data: st.DataObject
) -> None:
    images, stored = tiled
    y0, x0 = data.draw(st.integers(0, 69)), data.draw(st.integers(0, 92))
    y1, x1 = data.draw(st.integers(y0 + 1, 70)), data.draw(st.integers(x0 + 1, 93))
    for image in images:
        np.testing.assert_array_equal(image.read(Region(y0, x0, y1, x1)), stored[:, y0:y1, x0:x1])


def test_only_the_tiles_under_a_region_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = numbers(256, 256)
    image = open_image(write(tmp_path / "a.tif", stored, tile=(32, 32), compression="zlib"))
    from anycell.files.segments import Planes

    decoded: list[int] = []
    plain = Planes._decode

    def count(self: Planes, plane: Any, number: int, data: bytes) -> Pixels:
        decoded.append(number)
        return plain(self, plane, number, data)

    monkeypatch.setattr(Planes, "_decode", count)
    image.read(Region(40, 70, 60, 90))
    assert decoded == [10]
    image.read(Region(40, 70, 70, 90))
    assert decoded == [10, 18]  # the first one was kept


def test_the_cache_lets_go_of_what_was_used_longest_ago() -> None:
    from anycell.files.segments import SegmentCache

    cache = SegmentCache(limit=250, least=1)
    keys = [(Path("a"), i) for i in range(3)]
    for key in keys[:2]:
        cache.put(key, np.zeros(100, np.uint8))
    cache.get(keys[0])
    cache.put(keys[2], np.zeros(100, np.uint8))
    assert [cache.get(key) is not None for key in keys] == [True, False, True]
    cache.put((Path("a"), 9), np.zeros(1000, np.uint8))
    assert cache.get((Path("a"), 9)) is not None
    assert cache.get(keys[0]) is None


def test_rgb_with_alpha(tmp_path: Path) -> None:
    stored = numbers(20, 30, 4, dtype=np.uint8)
    path = write(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), stored[..., :3].transpose(2, 0, 1))
    assert image.channels == RGB


def test_a_fourth_sample_that_is_not_alpha_is_a_channel(tmp_path: Path) -> None:
    stored = numbers(20, 30, 4, dtype=np.uint8)
    path = write(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unspecified"])
    assert open_image(path).channels == ("R", "G", "B", "3")
    assert open_image(path, channels="R,G,B").is_color
    np.testing.assert_array_equal(whole(open_image(path, channels="3"))[0], stored[..., 3])


def test_grey_with_alpha(tmp_path: Path) -> None:
    stored = numbers(20, 30, 2, dtype=np.uint8)
    path = write(
        tmp_path / "a.tif",
        stored,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), stored[None, ..., 0])
    assert image.channels == ("0",)


def test_samples_of_a_grey_file_are_channels(tmp_path: Path) -> None:
    stored = numbers(20, 30, 7)
    path = write(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig="contig")
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), stored.transpose(2, 0, 1))
    assert not image.is_color


def test_a_palette_becomes_its_colors(tmp_path: Path) -> None:
    palette = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
    stored = numbers(20, 30, dtype=np.uint8)
    path = write(tmp_path / "a.tif", stored, photometric="palette", colormap=palette)
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), (palette >> 8)[:, stored])
    assert image.channels == RGB
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(whole(open_image(path, channels="B")), (palette >> 8)[2:, stored])


def test_the_display_colors_of_imagej_are_not_data(tmp_path: Path) -> None:
    stored = numbers(20, 30, dtype=np.uint8)
    lut = np.zeros((3, 256), np.uint8)
    lut[1] = np.arange(256)
    path = write(tmp_path / "a.tif", stored, imagej=True, colormap=lut)
    np.testing.assert_array_equal(whole(open_image(path)), stored[None])


def test_white_stored_as_zero_is_inverted(tmp_path: Path) -> None:
    stored = numbers(20, 30, dtype=np.uint8)
    path = write(tmp_path / "a.tif", stored, photometric="miniswhite")
    np.testing.assert_array_equal(whole(open_image(path)), 255 - stored[None])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk(tmp_path: Path, dtype: type) -> None:
    top = np.iinfo(dtype).max
    inks = np.zeros((8, 16, 4), dtype)
    inks[0, 0] = (top, 0, 0, 0)
    inks[0, 1] = (0, 0, 0, top)
    inks[0, 2] = (0, top // 2, top, top // 2)
    path = write(tmp_path / "a.tif", inks, photometric="separated")
    found = whole(open_image(path))
    assert found.dtype == dtype
    assert found[:, 0, :2].T.tolist() == [[0, top, top], [0, 0, 0]]
    assert found[:, 5, 5].tolist() == [top] * 3
    half = (top - top // 2) / top
    np.testing.assert_allclose(found[:, 0, 2] / top, [half, half * half, 0], atol=1 / top)


def test_ycbcr_without_jpeg(tmp_path: Path) -> None:
    import PIL.Image

    rgb = numbers(16, 16, 3, dtype=np.uint8)
    stored = np.array(PIL.Image.fromarray(rgb).convert("YCbCr"))
    path = write(tmp_path / "a.tif", stored, photometric="ycbcr", subsampling=(1, 1))
    found = whole(open_image(path)).astype(int)
    assert np.abs(found - rgb.transpose(2, 0, 1)).max() <= 3  # Pillow cuts where we round


def test_jpeg_tiles(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(96)).astype(np.uint8)
    rgb = np.stack([smooth, smooth // 2, 255 - smooth], -1)
    path = write(tmp_path / "a.tif", rgb, photometric="rgb", compression="jpeg", tile=(32, 32))
    found = open_image(path).read(Region(30, 20, 50, 70)).astype(int)
    assert np.abs(found - rgb[30:50, 20:70].transpose(2, 0, 1)).max() < 12


def test_colors_that_are_not_supported_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers(8, 8, 3, dtype=np.uint8), photometric="cielab")
    with pytest.raises(FormatError, match=r"a\.tif stores colors as CIELAB") as caught:
        open_image(path)
    assert caught.value.hint == "save it as RGB"


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers(8, 8).astype(np.complex64))
    with pytest.raises(FormatError, match="samples of type complex64"):
        open_image(path)


@pytest.mark.parametrize("layout", ["one piece", "tiles, lzw"])
def test_a_file_cut_off(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path / "cut.tif", numbers(200, 200), **LAYOUTS[layout])
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(FormatError, match=r"cut\.tif cannot be read: the file is cut off"):
        whole(open_image(path))


def test_damaged_segments(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.tif", numbers(64, 64), compression="zlib", tile=(32, 32))
    data = bytearray(path.read_bytes())
    data[-300:-100] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"bad\.tif cannot be read: .+"):
        whole(open_image(path))


def test_a_header_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0")
    with pytest.raises(FormatError, match=r"a\.tif"):
        open_image(tmp_path / "a.tif")


def test_several_images_in_one_file(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(numbers(60, 50), metadata=None)
        file.write(numbers(31, 77), metadata=None)
    with pytest.raises(AxesError, match=r"holds 2 images \(60x50, 31x77\)"):
        open_image(tmp_path / "a.tif")


def test_noise_of_the_library_stays_away(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.tif", numbers(9, 9), description="x")
    data = path.read_bytes().replace(b'{"shape": [9, 9]}', b'{"shape": [9, 7]}')
    path.write_bytes(data)
    root = logging.getLogger()
    kept, root.handlers = root.handlers, []  # as in a program that does not set up logging
    try:
        open_image(path)
    finally:
        root.handlers = kept
    assert capfd.readouterr() == ("", "")


def test_the_file_may_be_moved_away_and_is_not_held_open(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", numbers(9, 9), compression="zlib")
    image = open_image(path)
    path.unlink()
    with pytest.raises(FormatError, match=r"a\.tif cannot be read: .*No such file"):
        whole(image)
