"""Learning curves: curves.csv of a training, read back as numbers."""

from __future__ import annotations

import csv
from pathlib import Path

__all__ = ["read_curve"]

COLUMNS = ("step", "crops", "seconds", "loss", "f1")


def read_curve(run: Path) -> list[dict[str, float]]:
    """Give the rows of a training's curves.csv: step, crops, seconds, loss, f1.

    A training that has not validated yet has no rows.
    """
    path = run / "curves.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(row[k]) for k in COLUMNS} for row in csv.DictReader(file)]
