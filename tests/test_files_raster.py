"""PNG, JPEG, BMP and WebP come back exactly; what cannot be read says why."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest

from anycell.errors import AxesError, FormatError, InputError
from anycell.files import open_image
from anycell.image import Image, Pixels, Region

RNG = np.random.default_rng(7)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


def whole(image: Image) -> Pixels:
    _, height, width = image.shape
    return image.read(Region(0, 0, height, width))


def saved(path: Path, array: Pixels, mode: str | None = None, **options: Any) -> Path:
    picture = PIL.Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_png_of_each_depth_and_color(tmp_path: Path, dtype: type, samples: int) -> None:
    shape = (13, 17) if samples == 1 else (13, 17, samples)
    stored = RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(stored))
    image = open_image(tmp_path / "a.png")
    expected = stored.reshape(13, 17, samples)[..., : 3 if samples > 2 else 1]
    np.testing.assert_array_equal(whole(image), expected.transpose(2, 0, 1))
    assert image.dtype == dtype
    assert image.channels == (("R", "G", "B") if samples > 2 else ("0",))
    assert image.is_color == (samples > 2)
    assert image.pixel_size is None


def test_sixteen_bits_of_a_color_png_are_not_cut_to_eight(tmp_path: Path) -> None:
    stored = np.arange(4 * 5 * 3, dtype=np.uint16).reshape(4, 5, 3) + 1000
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(stored))
    assert whole(open_image(tmp_path / "a.png")).max() == 1059


def test_palette_png_becomes_its_colors(tmp_path: Path) -> None:
    path = saved(tmp_path / "p.png", RGB8, "P")
    with PIL.Image.open(path) as file:
        assert file.mode == "P"
        expected = np.array(file.convert("RGB"))
    np.testing.assert_array_equal(whole(open_image(path)), expected.transpose(2, 0, 1))


def test_black_and_white_png(tmp_path: Path) -> None:
    stored = RNG.random((9, 11)) > 0.5
    path = saved(tmp_path / "b.png", stored)
    np.testing.assert_array_equal(whole(open_image(path))[0] > 0, stored)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.jpg", RGB8, mode, quality=95)
    with PIL.Image.open(path) as file:
        expected = np.atleast_3d(np.array(file if mode == "L" else file.convert("RGB")))
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), expected.transpose(2, 0, 1))
    assert image.is_color == (mode != "L")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.bmp", RGB8, mode)
    with PIL.Image.open(path) as file:
        grey = file.mode in ("1", "L")
        expected = np.atleast_3d(np.array(file if grey else file.convert("RGB")))
    image = open_image(path)
    np.testing.assert_array_equal(whole(image), expected.transpose(2, 0, 1))
    assert image.dtype == expected.dtype


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossless_webp(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.webp", RGB8, mode, lossless=True)
    np.testing.assert_array_equal(whole(open_image(path)), RGB8.transpose(2, 0, 1))


def test_a_region_is_the_whole_cut(tmp_path: Path) -> None:
    image = open_image(saved(tmp_path / "a.png", RGB8))
    part = image.read(Region(3, 5, 12, 30))
    np.testing.assert_array_equal(part, RGB8[3:12, 5:30].transpose(2, 0, 1))
    assert part.flags.c_contiguous


def test_name_ends_at_the_first_dot(tmp_path: Path) -> None:
    assert open_image(saved(tmp_path / "well A1.z.0.png", RGB8)).name == "well A1"


def test_the_content_counts_not_the_ending(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", RGB8)
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole(open_image(tmp_path / "a.tif")), RGB8.transpose(2, 0, 1))


def test_an_orientation_tag_does_not_turn_the_pixels(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[274] = 6
    path = saved(tmp_path / "turned.jpg", RGB8, exif=exif)
    assert open_image(path).shape == (3, 21, 34)


def test_an_image_beyond_the_limit_of_pillow_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [saved(tmp_path / "a.bmp", RGB8), saved(tmp_path / "a.jpg", RGB8, "CMYK")]
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    for path in paths:
        assert open_image(path).shape == (3, 21, 34)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_file_cut_off_is_named_with_the_reason(tmp_path: Path, ending: str, part: float) -> None:
    path = saved(tmp_path / f"cut.{ending}", RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(FormatError, match=rf"cut\.{ending} cannot be read: \w+") as caught:
        open_image(path)
    assert caught.value.hint


def test_a_damaged_png_is_an_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "bad.png", RGB8)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"bad\.png cannot be read: IDAT"):
        open_image(path)


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_an_animation_is_a_stack(tmp_path: Path, ending: str) -> None:
    first, second = PIL.Image.fromarray(RGB8), PIL.Image.fromarray(RGB8[::-1])
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=[second])
    with pytest.raises(AxesError, match="stack: an animation") as caught:
        open_image(tmp_path / f"a.{ending}")
    assert "save one picture" in caught.value.hint


def test_a_missing_file_suggests_its_neighbor(tmp_path: Path) -> None:
    saved(tmp_path / "cells_01.png", RGB8)
    with pytest.raises(InputError, match=r"no file .*cells_1\.png") as caught:
        open_image(tmp_path / "cells_1.png")
    assert caught.value.hint == str(tmp_path / "cells_01.png")
    with pytest.raises(InputError, match="no file"):
        open_image(tmp_path / "nowhere" / "a.png")


def test_a_folder_that_is_not_zarr(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder and not OME-Zarr") as caught:
        open_image(tmp_path)
    assert "PNG" in caught.value.expected


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(FormatError, match=r"a\.png is empty \(0 bytes\)"):
        open_image(tmp_path / "a.png")


def test_a_text_file_called_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello, this is text")
    with pytest.raises(FormatError, match="is not an image: it starts with b'hello") as caught:
        open_image(tmp_path / "a.png")
    assert "OME-Zarr" in caught.value.expected


def test_a_format_of_a_microscope_maker_says_how_to_convert(tmp_path: Path) -> None:
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE" + bytes(100))
    with pytest.raises(FormatError, match="is a Zeiss CZI file") as caught:
        open_image(tmp_path / "a.czi")
    assert "OME-TIFF" in caught.value.hint


def test_an_array_file_is_not_an_image(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 3)))
    with pytest.raises(FormatError, match=r"a\.npy is npy"):
        open_image(tmp_path / "a.npy")


def test_nothing_heavy_is_imported_before_a_file_asks_for_it() -> None:
    import subprocess
    import sys

    code = "import anycell.files, sys; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"tifffile", "zarr", "imagecodecs", "PIL", "skimage", "scipy", "torch"}
    assert not heavy & set(shown.stdout.split())


def test_a_jpeg_with_a_preview_inside_is_whole_only_with_its_own_end(tmp_path: Path) -> None:
    small = io.BytesIO()
    PIL.Image.fromarray(RGB8[:8, :8]).save(small, "JPEG")
    exif = b"Exif\0\0" + small.getvalue()
    path = saved(tmp_path / "a.jpg", RGB8, exif=exif)
    assert open_image(path).shape == (3, 21, 34)
    data = path.read_bytes()
    path.write_bytes(data[:-40])
    with pytest.raises(FormatError, match="the end of its data is missing"):
        open_image(path)
