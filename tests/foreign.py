"""Labels as other programs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from anycell.labels import Labels


def square(y: float, x: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(*rings: list[list[float]], name: str | None = None) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": list(rings)},
        "properties": {"objectType": "annotation", "name": name},
    }


def geojson(path: Path, *features: Any, **more: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


def coco(
    path: Path, annotations: list[dict[str, Any]], names: tuple[str, ...] = ("a.png",)
) -> Path:
    images = [
        {"id": k, "file_name": name, "height": 6, "width": 8} for k, name in enumerate(names, 1)
    ]
    annotations = [
        {"id": k, "image_id": 1, "category_id": 7, "iscrowd": 0, **one}
        for k, one in enumerate(annotations, 1)
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 7}]}
    path.write_text(json.dumps(content))
    return path


def cellpose(path: Path, masks: Any, **more: Any) -> Path:
    content = {
        "masks": masks,
        "outlines": np.zeros((2, 2), np.uint16),
        "flows": [np.zeros((1, 4, 4), np.uint8), None],
        "filename": "a.png",
        "est_diam": np.float64(30),
        "ismanual": np.zeros(3, bool),
        "normalize_params": {"lowhigh": None, "percentile": [1.0, 99.0]},
        **more,
    }
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]
    return path


def masks(folder: Path, labels: Labels) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in np.unique(labels[labels > 0]):
        mask = np.where(labels == number, 255, 0).astype(np.uint8)
        Picture.fromarray(mask).save(folder / f"{number:03}.png")
    return folder
