"""Labels of other programs become labels here, or an error that names file and reason."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
from PIL import Image as Picture

from anycell.errors import FormatError, InputError
from anycell.files import read_labels
from cells import CELLS
from foreign import cellpose, coco, feature, geojson, masks, square

LABELS = CELLS["touching"]


def test_outlines_of_qupath(tmp_path: Path) -> None:
    path = geojson(
        tmp_path / "a.geojson",
        feature(square(1, 1, 4), square(2, 2, 2), name="Tumor"),
        feature(square(2.4, 2.4, 1.2)),
    )
    found = read_labels(path, shape=(6, 8))
    expected = np.zeros((6, 8), np.int32)
    expected[1:5, 1:5] = 1
    expected[2:4, 2:4] = 0
    expected[2:4, 2:4] = 2  # whose centres at 2.5 and 3.5 lie between 2.4 and 3.6
    np.testing.assert_array_equal(found, expected)
    path.write_text(json.dumps(json.loads(path.read_text())["features"]))
    np.testing.assert_array_equal(read_labels(path, shape=(6, 8)), expected)


@pytest.mark.parametrize(
    ("make", "shape", "words"),
    [
        (lambda p: geojson(p, feature(square(1, 1, 3))), None, "does not say how large"),
        (lambda p: geojson(p, feature(square(1, 1, 9))), (6, 8), "reaches outside .* 6 x 8"),
        (lambda p: geojson(p, feature(square(1, -1, 3))), (6, 8), "reaches outside"),
        (lambda p: geojson(p, size=[6, 9]), (6, 8), "6 x 9 pixels .*not 6 x 8"),
        (
            lambda p: geojson(p, feature(square(0, 0, 3)), feature(square(2, 2, 3))),
            (6, 8),
            "cells 1 and 2 overlap at row 2, column 2",
        ),
        (lambda p: geojson(p, feature(square(1.6, 1.6, 0.5))), (6, 8), "no pixel's centre"),
        (lambda p: geojson(p, feature([[0, 0], [1, 1]])), (6, 8), "fewer than 4 places"),
        (
            lambda p: geojson(p, {"geometry": {"type": "Point", "coordinates": [1, 1]}}),
            (6, 8),
            "feature 1 is Point",
        ),
        (lambda p: geojson(p, {"geometry": None}), (6, 8), "without geometry"),
        (lambda p: p.write_text("{}"), (6, 8), "without features or annotations"),
        (lambda p: p.write_text('{"features": [1,'), (6, 8), "cannot be read"),
        (lambda p: p.write_bytes(b""), (6, 8), "cannot be read"),
    ],
)
def test_outlines_that_cannot_be(
    make: Callable[[Path], Any], shape: tuple[int, int] | None, words: str, tmp_path: Path
) -> None:
    make(tmp_path / "odd.geojson")
    with pytest.raises(InputError, match=rf"odd\.geojson.*{words}"):
        read_labels(tmp_path / "odd.geojson", shape=shape)


def test_shared_pixels_go_where_they_are_told_to(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", feature(square(0, 0, 3)), feature(square(2, 2, 3)))
    first = read_labels(path, shape=(6, 8), overlaps="first")
    last = read_labels(path, shape=(6, 8), overlaps="last")
    assert (first[2, 2], last[2, 2]) == (1, 2)
    assert np.count_nonzero(first) == np.count_nonzero(last) == 9 + 9 - 1


def test_coco_of_any_kind(tmp_path: Path) -> None:
    plain = [2, 3, 3, 3, 37]  # rows 2 to 4 of columns 0 and 1
    polygon = [[4.0, 1.0, 7.0, 1.0, 7.0, 4.0, 4.0, 4.0]]
    path = coco(
        tmp_path / "a_coco.json",
        [
            {"segmentation": {"size": [6, 8], "counts": plain}},
            {"segmentation": polygon},
        ],
    )
    expected = np.zeros((6, 8), np.int32)
    expected[2:5, 0:2] = 1
    expected[1:4, 4:7] = 2
    np.testing.assert_array_equal(read_labels(path), expected)


RLE = {"size": [6, 8], "counts": [2, 3, 43]}


@pytest.mark.parametrize(
    ("one", "words"),
    [
        ({"segmentation": RLE, "category_id": 3}, "annotation 1 has the unknown category 3"),
        ({"segmentation": RLE, "image_id": 3}, "of an image 3 that is not listed"),
        ({"segmentation": RLE, "iscrowd": 1}, "crowd"),
        ({"segmentation": {"size": [8, 6], "counts": [2, 3, 43]}}, "8 x 6 pixels, the image has 6"),
        ({"segmentation": {"size": [6, 8], "counts": [2, 3, 3]}}, "RLE of 8 pixels for 6 x 8"),
        ({"segmentation": {"size": [6, 8], "counts": "p"}}, "no compressed RLE"),
        ({"segmentation": [[1, 1, 2, 2]]}, "no polygon"),
        ({"segmentation": [[1, 1, 2]]}, "cannot be read"),
        ({}, "annotation 1 cannot be read"),
        ({"segmentation": [[0, 0, 9, 0, 9, 5, 0, 5]]}, "reaches outside"),
    ],
)
def test_coco_that_cannot_be(one: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = coco(tmp_path / "odd_coco.json", [one])
    with pytest.raises(InputError, match=rf"odd_coco\.json.*{words}"):
        read_labels(path)


def test_coco_of_another_size_or_of_many_images(tmp_path: Path) -> None:
    path = coco(tmp_path / "a_coco.json", [{"segmentation": RLE}])
    with pytest.raises(InputError, match=r"6 x 8 pixels .*not 9 x 9"):
        read_labels(path, shape=(9, 9))
    coco(path, [], ("a.png", "b.png"))
    with pytest.raises(InputError, match="holds 2 images") as caught:
        read_labels(path)
    assert "anycell convert" in caught.value.hint


def test_selections_of_imagej(tmp_path: Path) -> None:
    kinds = roifile.ROI_TYPE
    corners = np.array([[1, 1], [4, 1], [4, 4], [1, 4]])
    free = roifile.ImagejRoi.frompoints(corners, name="cell A")
    box = roifile.ImagejRoi(roitype=kinds.RECT, top=1, left=5, bottom=3, right=8, name="B")
    roifile.roiwrite(tmp_path / "a_rois.zip", [free, box])
    found = read_labels(tmp_path / "a_rois.zip", shape=(6, 8))
    expected = np.zeros((6, 8), np.int32)
    expected[1:4, 1:4], expected[1:3, 5:8] = 1, 2
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match=r"a_rois\.zip does not say how large"):
        read_labels(tmp_path / "a_rois.zip")


def test_selections_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "odd.zip"
    oval = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.OVAL, bottom=3, right=3, name="o")
    roifile.roiwrite(path, [oval])
    with pytest.raises(InputError, match=r"odd\.zip: o\.roi is a selection of type oval"):
        read_labels(path, shape=(6, 8))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FormatError, match=r"odd\.zip cannot be read"):
        read_labels(path, shape=(6, 8))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.roi", b"Iout")
    with pytest.raises(FormatError, match=r"odd\.zip cannot be read"):
        read_labels(path, shape=(6, 8))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("picture.png", b"")
    with pytest.raises(FormatError, match=r"odd\.zip holds picture\.png"):
        read_labels(path, shape=(6, 8))


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32])
def test_cellpose_files(dtype: type, tmp_path: Path) -> None:
    path = cellpose(tmp_path / "a_seg.npy", LABELS.astype(dtype))
    np.testing.assert_array_equal(read_labels(path), LABELS)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_cellpose_files_of_any_age(protocol: int, tmp_path: Path) -> None:
    path = cellpose(tmp_path / "a_seg.npy", LABELS)
    start = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        start, {"shape": (), "fortran_order": False, "descr": "|O"}
    )
    content = np.array({"masks": LABELS.astype(np.uint16), "ismanual": [True]}, dtype=object)
    path.write_bytes(start.getvalue() + pickle.dumps(content, protocol=protocol))
    np.testing.assert_array_equal(read_labels(path), LABELS)


class Bomb:
    """A pickle of it would make a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.path,))


class Call:
    """A pickle of it calls a function by name."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def test_a_pickle_that_would_act_is_not_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    path = cellpose(tmp_path / "a_seg.npy", LABELS, flows=[Bomb(touched)])
    with pytest.raises(FormatError, match=r"a_seg\.npy asks for pathlib.*nothing of it was run"):
        read_labels(path)
    assert not touched.exists()
    np.load(path, allow_pickle=True)  # what it would have done
    assert touched.exists()


@pytest.mark.parametrize(
    "call",
    [
        Call(eval, "1"),
        Call(getattr, [], "append"),
        Call(__import__, "os"),
        Call(np.load, "x"),
        Call(np.ndarray.tofile, np.zeros(1), "x"),
        Call(open, "x", "w"),
    ],
    ids=["eval", "getattr", "import", "load", "tofile", "open"],
)
def test_no_function_can_be_named(call: Call, tmp_path: Path) -> None:
    path = cellpose(tmp_path / "a_seg.npy", LABELS, extra=call)
    with pytest.raises(FormatError, match=r"a_seg\.npy asks for "):
        read_labels(path)


def test_cellpose_files_that_cannot_be(tmp_path: Path) -> None:
    path = cellpose(tmp_path / "a_seg.npy", LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"a_seg\.npy cannot be read"):
        read_labels(path)
    np.save(path, {"outlines": LABELS}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds no masks"):
        read_labels(path)
    cellpose(path, np.zeros((3, 6, 8), np.uint16))
    with pytest.raises(InputError, match=r"shape \(3, 6, 8\)"):
        read_labels(path)
    cellpose(path, LABELS)
    with pytest.raises(InputError, match=r"6 x 8 pixels .*its image 9 x 9"):
        read_labels(path, shape=(9, 9))


def test_a_folder_of_masks(tmp_path: Path) -> None:
    folder = masks(tmp_path / "ID" / "masks", LABELS)
    np.testing.assert_array_equal(read_labels(folder), LABELS)
    Picture.fromarray(np.ones((6, 8), np.uint8)).save(folder / "z.png")
    with pytest.raises(InputError, match="cells 1 and 5 overlap at row 1, column 1"):
        read_labels(folder)
    Picture.fromarray(np.ones((5, 5), np.uint8)).save(folder / "z.png")
    with pytest.raises(InputError, match=r"z\.png has 5 x 5 pixels, not 6 x 8"):
        read_labels(folder)
    Picture.fromarray(np.zeros((6, 8), np.uint8)).save(folder / "z.png")
    with pytest.raises(InputError, match="cell 5 holds no pixel"):
        read_labels(folder)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="holds no masks"):
        read_labels(folder)
