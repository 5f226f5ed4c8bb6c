"""A table of the cells for spreadsheets: CSV, one row per cell.

Lengths come in pixels, and in micrometres where the size of a pixel is known.  What is not
known is left empty.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anycell.files.damage import replacing
from anycell.measure import Cells

__all__ = ["columns", "write_table"]

TOGETHER = 8192
"""Rows that are text at the same time."""


def columns(cells: Cells) -> dict[str, NDArray[Any]]:
    """The columns by their heads; not-a-number is what is not known."""
    found: dict[str, NDArray[Any]] = {"cell": cells.number}
    sizes = [("px", 1.0)] if cells.pixel_size is None else [("px", 1.0), ("um", cells.pixel_size)]
    for unit, side in sizes:
        scale: Any = 1 if unit == "px" else side
        found |= {
            f"area_{unit}{'2' if unit == 'um' else ''}": cells.area * scale * scale,
            f"diameter_{unit}": cells.diameter * side,
            f"center_y_{unit}": cells.center[:, 0] * side,
            f"center_x_{unit}": cells.center[:, 1] * side,
            f"perimeter_{unit}": cells.perimeter * side,
        }
    found |= {f"box_{name}": cells.box[:, k] for k, name in enumerate(("y0", "x0", "y1", "x1"))}
    found |= {"circularity": cells.circularity, "orientation_deg": cells.orientation}
    for channel, values in cells.intensity.items():
        found |= {f"{channel}_{k}": values[:, i] for i, k in enumerate(("mean", "min", "max"))}
    for name, values in cells.facts().items():
        found[name] = values if name == "confidence" else values.astype(np.int64)
    return found


def write_table(cells: Cells, path: Path) -> None:
    """Write the table.

    Raises
    ------
    OutputError : the folder is missing or closed, or the disk is full.
    """
    table = columns(cells)
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        heads = io.StringIO()
        csv.writer(heads, lineterminator="\n").writerow(table)
        file.write(heads.getvalue())
        for begin in range(0, len(cells.number), TOGETHER):
            part = [_texts(column[begin : begin + TOGETHER]) for column in table.values()]
            file.writelines(",".join(row) + "\n" for row in zip(*part, strict=True))


def _texts(column: NDArray[Any]) -> list[str]:
    if column.dtype.kind in "iu":
        return [str(value) for value in column.tolist()]
    return ["" if value != value else f"{value:.10g}" for value in column.tolist()]
