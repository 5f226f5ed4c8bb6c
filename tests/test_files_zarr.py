"""OME-Zarr 0.4 and 0.5, bare zarr arrays, and what is said about other folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from anycell.errors import AxesError, FormatError, InputError
from anycell.files import open_image, read_labels
from anycell.image import Image, Pixels, Region

RNG = np.random.default_rng(3)


def whole(image: Image, level: int = 0) -> Pixels:
    found = image.levels[level]
    return found.read(Region(0, 0, found.height, found.width))


def numbers(*shape: int, dtype: type = np.uint16) -> Pixels:
    return RNG.integers(0, 200, shape).astype(dtype)


def write_zarr(
    path: Path,
    levels: list[Pixels],
    axes: list[Any] | str,
    *,
    version: str = "0.4",
    scale: float = 0.5,
    **more: Any,
) -> Path:
    named = [
        {"name": v, "type": "channel" if v == "c" else "space", "unit": "micrometer"}
        if v in "cyxz" else {"name": v}
        for v in axes
    ]  # fmt: skip
    form = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=form)
    datasets = []
    for i, one in enumerate(levels):
        chunks = tuple(min(n, 16) for n in one.shape)
        array = group.create_array(str(i), shape=one.shape, chunks=chunks, dtype=one.dtype)
        array[...] = one
        sizes = [scale * 2**i if v in "yx" else 1.0 for v in axes]
        change = {"type": "scale", "scale": sizes}
        datasets.append({"path": str(i), "coordinateTransformations": [change]})
    about = {"multiscales": [{"axes": named, "datasets": datasets, "version": version}], **more}
    group.attrs.update(about if form == 2 else {"ome": {"version": version, **about}})
    return path


def omero(*names: str) -> dict[str, Any]:
    return {"channels": [{"label": name, "color": "FFFFFF"} for name in names]}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "tczyx", "yxc", "czyx"])
def test_ome_zarr(tmp_path: Path, version: str, axes: str) -> None:
    planes = [numbers(3, 40, 60), numbers(3, 20, 30)]
    levels = []
    for one in planes:
        stored = one if axes != "yxc" else one.transpose(1, 2, 0)
        sizes = dict(zip("cyx", one.shape, strict=True))
        levels.append(stored.reshape([sizes.get(v, 1) for v in axes]))
    path = write_zarr(
        tmp_path / "a.ome.zarr", levels, axes, version=version, omero=omero("DAPI", "", "GFP")
    )
    image = open_image(path)
    assert image.channels == ("DAPI", "1", "GFP")
    assert image.pixel_size == 0.5
    assert image.name == "a"
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(whole(image), planes[0])
    np.testing.assert_array_equal(whole(image, 1), planes[1])
    chosen = open_image(path, channels="GFP,0", level=1)
    assert chosen.pixel_size == 1.0
    np.testing.assert_array_equal(whole(chosen), planes[1][[2, 0]])


@pytest.fixture(scope="module")
def stored_and_opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pixels, list[Image]]:
    stored = numbers(2, 50, 70)
    folder = tmp_path_factory.mktemp("zarr")
    paths = [write_zarr(folder / v, [stored], "cyx", version=v) for v in ("0.4", "0.5")]
    return stored, [open_image(path) for path in paths]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_region_is_the_whole_cut(
    stored_and_opened: tuple[Pixels, list[Image]], data: st.DataObject
) -> None:
    stored, images = stored_and_opened
    y0, x0 = data.draw(st.integers(0, 49)), data.draw(st.integers(0, 69))
    y1, x1 = data.draw(st.integers(y0 + 1, 50)), data.draw(st.integers(x0 + 1, 70))
    for image in images:
        np.testing.assert_array_equal(image.read(Region(y0, x0, y1, x1)), stored[:, y0:y1, x0:x1])


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.float32, ">u2"])
def test_types(tmp_path: Path, dtype: Any) -> None:
    stored = numbers(20, 30).astype(dtype)
    image = open_image(write_zarr(tmp_path / "a.zarr", [stored], "yx"))
    np.testing.assert_array_equal(whole(image), stored[None])
    assert image.dtype == np.dtype(dtype).newbyteorder("=")
    assert image.channels == ("0",)


@pytest.mark.parametrize("axes", ["zyx", "tyx"])
def test_a_stack_is_refused(tmp_path: Path, axes: str) -> None:
    path = write_zarr(tmp_path / "a.zarr", [numbers(4, 20, 30)], axes)
    with pytest.raises(AxesError, match=r"a\.zarr is a stack of 4") as caught:
        open_image(path)
    assert caught.value.hint.startswith("--axes CYX if the 4 are channels")


@pytest.mark.parametrize(("unit", "expected"), [("nanometer", 0.0005), ("", None), ("mile", None)])
def test_units(tmp_path: Path, unit: str, expected: float | None) -> None:
    path = write_zarr(tmp_path / "a.zarr", [numbers(20, 30)], "yx")
    group = zarr.open_group(str(path), mode="r+")
    scales: Any = group.attrs["multiscales"]
    for axis in scales[0]["axes"]:
        axis["unit"] = unit
    group.attrs["multiscales"] = scales
    assert open_image(path).pixel_size == (pytest.approx(expected) if expected else None)


def test_the_scale_of_all_levels_counts_too(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", [numbers(20, 30)], "yx")
    group = zarr.open_group(str(path), mode="r+")
    scales: Any = group.attrs["multiscales"]
    scales[0]["coordinateTransformations"] = [{"type": "scale", "scale": [0.1, 0.1]}]
    group.attrs["multiscales"] = scales
    assert open_image(path).pixel_size == pytest.approx(0.05)


def test_elder_versions_name_axes_as_letters_or_not_at_all(tmp_path: Path) -> None:
    stored = numbers(1, 2, 1, 20, 30)
    path = write_zarr(tmp_path / "a.zarr", [stored], "tczyx")
    group = zarr.open_group(str(path), mode="r+")
    scales: Any = group.attrs["multiscales"]
    for axes in (["t", "c", "z", "y", "x"], None):
        scales[0].pop("axes")
        group.attrs["multiscales"] = [scales[0] if axes is None else {**scales[0], "axes": axes}]
        np.testing.assert_array_equal(whole(open_image(path)), stored[0, :, 0])
        scales[0]["axes"] = axes


def test_a_bare_array(tmp_path: Path) -> None:
    stored = numbers(3, 20, 30)
    for name, axes in (("named", ("channel", "y", "x")), ("unnamed", None)):
        array = zarr.create_array(
            str(tmp_path / name), shape=stored.shape, dtype="u2", dimension_names=axes
        )
        array[...] = stored
    np.testing.assert_array_equal(whole(open_image(tmp_path / "named")), stored)
    with pytest.raises(AxesError, match="3 axes of sizes") as caught:
        open_image(tmp_path / "unnamed")
    assert caught.value.hint.startswith("--axes CYX")
    np.testing.assert_array_equal(whole(open_image(tmp_path / "unnamed", axes="CYX")), stored)


def test_a_bare_plane_needs_no_names(tmp_path: Path) -> None:
    stored = numbers(20, 30)
    zarr.create_array(str(tmp_path / "a"), shape=(20, 30), dtype="u2", zarr_format=2)[...] = stored
    np.testing.assert_array_equal(whole(open_image(tmp_path / "a")), stored[None])


def test_one_image_as_bio_formats_lays_it_out(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    stored = numbers(20, 30)
    write_zarr(tmp_path / "a.zarr" / "0", [stored], "yx")
    image = open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(whole(image), stored[None])
    assert image.name == "a"
    write_zarr(tmp_path / "a.zarr" / "1", [stored], "yx")
    with pytest.raises(InputError, match="holds several images") as caught:
        open_image(tmp_path / "a.zarr")
    assert caught.value.hint == str(tmp_path / "a.zarr" / "0")


def test_a_plate_names_its_first_image(tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "p.zarr"), mode="w", zarr_format=2)
    root.attrs["plate"] = {"wells": [{"path": "A/1"}]}
    with pytest.raises(InputError, match="holds several images") as caught:
        open_image(tmp_path / "p.zarr")
    assert caught.value.hint == str(tmp_path / "p.zarr" / "A" / "1" / "0")


def test_zarr_without_an_image(tmp_path: Path) -> None:
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    with pytest.raises(FormatError, match="zarr without the metadata of an OME-Zarr image"):
        open_image(tmp_path / "a.zarr")


def test_damaged_metadata_and_chunks(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", [numbers(20, 30)], "yx", version="0.5")
    chunk = next(p for p in sorted((path / "0").rglob("*")) if p.is_file() and p.name == "0")
    chunk.write_bytes(b"not a chunk")
    with pytest.raises(FormatError, match=r"a\.zarr cannot be read: \S+"):
        whole(open_image(path))
    (path / "zarr.json").write_text('{"zarr_format": 3')
    with pytest.raises(FormatError, match=r"a\.zarr cannot be read: \S+"):
        open_image(path)


def test_a_level_that_is_named_but_not_there(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", [numbers(20, 30)], "yx")
    (path / "0").rename(path / "elsewhere")
    with pytest.raises(FormatError, match=r"a\.zarr cannot be read: .*0"):
        open_image(path)


def test_labels_in_ome_zarr(tmp_path: Path) -> None:
    stored = numbers(1, 20, 30, dtype=np.uint32)
    labels = read_labels(write_zarr(tmp_path / "l.zarr", [stored], "cyx", version="0.5"))
    np.testing.assert_array_equal(labels, stored[0])
    assert labels.dtype == np.int32
    with pytest.raises(InputError, match="holds 2 values per pixel"):
        read_labels(write_zarr(tmp_path / "two.zarr", [numbers(2, 20, 30)], "cyx"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_array_that_goes_while_it_is_read_is_told(tmp_path: Path, version: str) -> None:
    """Zarr reads chunks that are missing as zeros, and a folder that is gone as all of them."""
    path = write_zarr(tmp_path / "a.zarr", [1 + numbers(40, 40)], "yx", version=version)
    image = open_image(path)
    assert whole(image).all()
    path.rename(tmp_path / "away")
    with pytest.raises(FormatError, match="is gone"):
        whole(image)
