"""Small archives laid out as those of the NeurIPS 2022 challenge are."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import tifffile
from PIL import Image as Picture

from drawn import disks


def image(kind: str = "png") -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(np.where(disks() > 0, 180, 30).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def labels(rows: int = 128) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, disks()[:rows].astype(np.int16), compression="zlib")
    return stream.getvalue()


def archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return stream.getvalue()


def archives() -> dict[str, bytes]:
    """Small ones laid out as the real ones are."""
    top = "Training-labeled"
    labeled = {
        "Training-labeled/": b"",
        f"__MACOSX/{top}/images/._cell_00001.bmp": b"clutter",
        f"{top}/.DS_Store": b"clutter",
    }
    for number, kind in ((1, "bmp"), (100, "png"), (101, "png"), (1000, "tiff")):
        labeled[f"{top}/images/cell_{number:05}.{kind}"] = image(kind)
        labeled[f"{top}/labels/cell_{number:05}_label.tiff"] = labels()
    tuning = {
        "Tuning/images/cell_00001.png": image(),
        "Tuning/labels/cell_00001_label.tiff": labels(),
    }
    testing = {
        "Testing/Public/images/OpenTest_001.png": image(),
        "Testing/Public/labels/OpenTest_001_label.tiff": labels(),
        "Testing/Public/1st_osilab_seg/OpenTest_001_label.tiff": labels(),
        "Testing/Public/WSI/slide_1.png": image(),
        "Testing/Public/WSI-labels/slide_1_label.tiff": labels(),
        "Testing/Public/osilab_seg_WSI/slide_1_label.tiff": labels(),
        "Testing/Hidden/images/TestHidden_001.png": image(),
        "Testing/Hidden/osilab_seg/TestHidden_001_label.tiff": labels(),
    }
    return {
        "Training-labeled.zip": archive(labeled),
        "Tuning.zip": archive(tuning),
        "Testing.zip": archive(testing),
        "train-unlabeled-part1.zip": archive(
            {
                "release-part1/unlabeled_cell_00000.png": image(),
                "release-part1/unlabeled_cell_00504.png": image()[:200],
                "release-part1/notes.txt": b"no image",
            }
        ),
        "train-unlabeled-part2.zip": archive(
            {"train-unlabeled-part2/whole_slide_00001.tiff": image("tiff")}
        ),
    }
