"""Labels come back exactly, are written whole or not at all, and have one place each."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from anycell.errors import AxesError, FormatError, InputError, OutputError, SettingError
from anycell.files import find_images, label_path, label_paths, read_labels, write_labels
from anycell.labels import Labels

RNG = np.random.default_rng(1)
LABELS = RNG.integers(0, 60_000, (31, 47)).astype(np.int32)


@pytest.mark.parametrize(
    ("top", "dtype"),
    [(0, np.uint16), (65_535, np.uint16), (65_536, np.uint32), (2**31 - 1, np.uint32)],
)
def test_labels_written_come_back(tmp_path: Path, top: int, dtype: type) -> None:
    labels = np.zeros((20, 33), np.int32)
    labels[3:9, 4:8] = top
    labels[0, 0] = top // 2
    write_labels(labels, tmp_path / "a_label.tiff")
    found = read_labels(tmp_path / "a_label.tiff")
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.int32
    with tifffile.TiffFile(tmp_path / "a_label.tiff") as file:
        assert file.pages.first.dtype == dtype
        assert file.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    with PIL.Image.open(tmp_path / "a_label.tiff") as plain:  # another reader agrees
        assert plain.size == (33, 20)


def test_what_is_not_labels_is_not_written(tmp_path: Path) -> None:
    for wrong in (np.zeros((3, 3, 3), int), np.zeros((3, 3)), np.full((3, 3), -1)):
        with pytest.raises(InputError):
            write_labels(wrong, tmp_path / "a.tiff")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.tiff cannot be written: No such file") as caught:
        write_labels(LABELS, tmp_path / "missing" / "a.tiff")
    assert caught.value.hint
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written: Not a directory"):
        write_labels(LABELS, tmp_path / "file" / "a.tiff")


def test_a_full_disk_leaves_the_old_file_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labels(LABELS, tmp_path / "a.tiff")

    def full(file: Path, *_: Any, **__: Any) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_labels(LABELS + 1, tmp_path / "a.tiff")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tiff"]
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tiff"), LABELS)


def test_who_reads_the_old_file_reads_it_to_its_end(tmp_path: Path) -> None:
    write_labels(LABELS, tmp_path / "a.tiff")
    before = (tmp_path / "a.tiff").read_bytes()
    with (tmp_path / "a.tiff").open("rb") as file:
        write_labels(LABELS * 0, tmp_path / "a.tiff")
        assert file.read() == before


def test_a_bug_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(file: Path, *_: Any, **__: Any) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tifffile, "imwrite", stop)
    with pytest.raises(KeyboardInterrupt):
        write_labels(LABELS, tmp_path / "a.tiff")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_labels(tmp_path: Path, dtype: type) -> None:
    labels = (LABELS % 256).astype(dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(labels))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), labels)


def test_the_numbers_of_a_palette_are_the_labels(tmp_path: Path) -> None:
    labels = (LABELS % 7).astype(np.uint8)
    picture = PIL.Image.fromarray(labels, mode=None).convert("L")
    coloured = PIL.Image.new("P", picture.size)
    coloured.putdata(labels.ravel().tolist())
    coloured.putpalette(RNG.integers(0, 256, 768).tolist())
    coloured.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png"), labels)
    colors = RNG.integers(0, 2**16, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", labels, photometric="palette", colormap=colors)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), labels)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.uint32, np.int32, np.int64])
def test_tiff_and_npy_labels(tmp_path: Path, dtype: type) -> None:
    labels = (LABELS % 2 if dtype == np.bool_ else LABELS % 100).astype(dtype)
    np.save(tmp_path / "a.npy", labels[None])
    np.testing.assert_array_equal(read_labels(tmp_path / "a.npy"), labels)
    if dtype != np.int64:
        tifffile.imwrite(tmp_path / "a.tif", labels[None])
        np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), labels)


def test_black_and_white_labels(tmp_path: Path) -> None:
    PIL.Image.fromarray(LABELS > 30_000).save(tmp_path / "a.png")
    found = read_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(found > 0, LABELS > 30_000)


def test_a_picture_of_labels_is_refused(tmp_path: Path) -> None:
    rgb = RNG.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    PIL.Image.fromarray(rgb).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb")
    for name in ("a.png", "a.tif"):
        with pytest.raises(InputError, match="holds 3 values per pixel") as caught:
            read_labels(tmp_path / name)
        assert "touching cells" in caught.value.hint


def test_jpeg_does_not_keep_numbers(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(FormatError, match="is jpeg, which does not keep label numbers"):
        read_labels(tmp_path / "a.jpg")


def test_numbers_that_are_not_labels_name_the_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((9, 9), 0.5, np.float32))
    with pytest.raises(InputError, match=r"a\.tif: labels of type float32"):
        read_labels(tmp_path / "a.tif")
    np.save(tmp_path / "b.npy", np.full((9, 9), -3))
    with pytest.raises(InputError, match=r"b\.npy: label values -3 \.\. -3"):
        read_labels(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.full((9, 9), 2**31, np.uint32))
    with pytest.raises(InputError, match=r"c\.npy: label values 2147483648"):
        read_labels(tmp_path / "c.npy")


def test_stacks_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 9, 9), int))
    with pytest.raises(InputError, match=r"holds an array of shape \(4, 9, 9\)"):
        read_labels(tmp_path / "a.npy")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 9, 9), np.uint16))
    with pytest.raises(AxesError):
        read_labels(tmp_path / "a.tif")


def test_pickles_without_masks(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array({"masks": 1}, object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy holds no masks") as caught:
        read_labels(tmp_path / "a.npy")
    assert "numpy.save(path, labels)" in caught.value.hint
    np.save(tmp_path / "b.npy", LABELS)
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:300])
    with pytest.raises(FormatError, match=r"b\.npy cannot be read"):
        read_labels(tmp_path / "b.npy")


def test_missing_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        read_labels(tmp_path / "a.tif")


def test_the_place_of_labels() -> None:
    assert label_path(Path("out"), Path("in/cell_01.ome.tif")) == Path("out/cell_01_label.tiff")
    assert label_path(Path("out"), Path("in/a.zarr")) == Path("out/a_label.tiff")


def test_two_images_in_one_place_are_found_out() -> None:
    paths = [Path("in/a.png"), Path("in/b.png")]
    assert label_paths(paths, Path("out")) == {
        paths[0]: Path("out/a_label.tiff"),
        paths[1]: Path("out/b_label.tiff"),
    }
    with pytest.raises(
        SettingError, match=r"in/a\.png and in/a\.x\.tif would both be written"
    ) as caught:
        label_paths([*paths, Path("in/a.x.tif")], Path("out"))
    assert "rename one" in caught.value.hint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "images"
    for name in (
        "b.PNG", "a.ome.tif", "c.svs", "notes.txt", ".hidden.png", "a_label.tiff",
        "a_overlay.png", "data.csv", "sub/d.jpg", ".cache/e.png", "sub/f.zarr/zarr.json",
        "g.zarr/.zgroup", "g.zarr/0/x.png",
    ):  # fmt: skip
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    return top


def test_images_in_a_folder(folder: Path) -> None:
    assert [path.name for path in find_images(folder)] == ["a.ome.tif", "b.PNG", "c.svs", "g.zarr"]


def test_images_in_folders_within(folder: Path) -> None:
    found = [path.relative_to(folder).as_posix() for path in find_images(folder, recursive=True)]
    assert found == ["a.ome.tif", "b.PNG", "c.svs", "g.zarr", "sub/d.jpg", "sub/f.zarr"]


def test_an_image_stands_for_itself(folder: Path) -> None:
    assert find_images(folder / "b.PNG") == [folder / "b.PNG"]
    assert find_images(folder / "g.zarr") == [folder / "g.zarr"]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder"):
        find_images(tmp_path / "missing")
    assert find_images(tmp_path) == []


def test_zarr_labels_of_another_writer(tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "l"), shape=LABELS.shape, dtype="i4")
    array[...] = LABELS
    found: Labels = read_labels(tmp_path / "l")
    np.testing.assert_array_equal(found, LABELS)
