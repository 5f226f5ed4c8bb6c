"""One zoom for many files: found on some of them, the same for all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from anycell.errors import SettingError
from anycell.files import Opening, open_image, read_labels
from anycell.folders import FolderSettings, segment_files
from anycell.image import Region
from anycell.segment import SAMPLED, common_plan, segment
from anycell.tasks import find_tasks
from test_scale import Seer, disks, lattice

SIDE = 200


def drawn(folder: Path, diameters: Sequence[int]) -> list[Path]:
    """One image for each diameter; 0 for one without cells."""
    folder.mkdir()
    paths = []
    for number, diameter in enumerate(diameters):
        centres = lattice(diameter, SIDE) if diameter else []
        image = disks((SIDE, SIDE), diameter, centres)
        paths.append(folder / f"{number:02}.png")
        Picture.fromarray(image.read(Region(0, 0, SIDE, SIDE))[0]).save(paths[-1])
    return paths


def test_all_files_get_the_median_zoom_of_those_with_cells(tmp_path: Path) -> None:
    paths = drawn(tmp_path / "in", [12, 24, 0, 48, 24, 0, 12, 24])
    (tmp_path / "in" / "08.png").write_bytes(b"no image")
    out = tmp_path / "out"
    tasks = find_tasks([tmp_path / "in"], out)
    results = segment_files(tasks, out, Seer(), FolderSettings(same_scale=True))
    assert [r.status for r in results] == ["done"] * 8 + ["failed"]
    assert {r.zoom for r in results[:8]} == {1.0}
    for path, result in zip(paths, results, strict=False):
        given = segment(open_image(path), Seer(), zoom=1.0)
        assert np.array_equal(read_labels(result.labels), given.labels)
    noted = json.loads((out / "run.json").read_text())
    reasons = {entry["plan"]["reason"] for entry in noted["results"][:8]}
    assert reasons == {
        "the same for all images, the median of 00.png, 01.png, 03.png, 04.png, 06.png, 07.png"
    }
    assert noted["results"][8]["plan"] is None
    assert noted["settings"]["same_scale"] is True
    assert noted["settings"]["zoom"] is None


def test_a_few_of_many_images_are_looked_at_spread_evenly(tmp_path: Path) -> None:
    # Were the first ones taken, or all, the zoom would be another.
    paths = drawn(tmp_path / "in", ([24] + [48] * 3) * SAMPLED)
    predictor = Seer()
    plan = common_plan([Opening(path) for path in paths], predictor)
    assert plan.zoom == 1.0
    assert plan.reason.count(".png") == SAMPLED
    assert "32.png" in plan.reason
    again = common_plan([Opening(path) for path in paths], Seer())
    assert again == plan


def test_images_without_cells_do_not_count_unless_there_are_no_others(tmp_path: Path) -> None:
    paths = drawn(tmp_path / "in", [0] * 20 + [48])
    plan = common_plan([Opening(path) for path in paths], Seer())
    assert plan.zoom == 0.5
    none = common_plan([Opening(path) for path in paths[:20]], Seer())
    assert (none.zoom, none.reason) == (1.0, "no cells were found in any of the images")


def test_without_the_option_no_file_depends_on_the_others(tmp_path: Path) -> None:
    drawn(tmp_path / "in", [48, 48, 48, 12])
    out = tmp_path / "out"
    results = segment_files(find_tasks([tmp_path / "in"], out), out, Seer(), FolderSettings())
    assert [r.zoom for r in results] == [0.5, 0.5, 0.5, 2.0]


@pytest.mark.parametrize("given", [{"zoom": 1.0}, {"diameter": 24.0}])
def test_a_zoom_and_the_same_scale_are_refused(given: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="same scale"):
        FolderSettings(same_scale=True, **given)  # type: ignore[arg-type]
