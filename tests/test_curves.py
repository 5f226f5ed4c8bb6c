"""The picture of a training's curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from anycell.curves import plot_curves


def test_a_training_that_was_judged_once_shows_a_point(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    row = {"crops": "80", "loss": "4.9", "f1": "0.5", "groups": '{"liver": 0.5}'}
    plot_curves([row], tmp_path / "curves.png")
    pixels = np.asarray(Picture.open(tmp_path / "curves.png").convert("L"))
    height, width = pixels.shape
    for middle in (width // 4, 3 * width // 4):
        inside = pixels[height // 5 : -height // 4, middle - width // 10 : middle + width // 10]
        assert (inside < 64).sum() > 10, "black, and not only the frame around it"
