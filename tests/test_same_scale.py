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
        (
            "the same for all images, the median of in/00.png, in/01.png, in/03.png, in/04.png,"
            " in/06.png, in/07.png"
        )
    }
    assert noted["results"][8]["plan"] is None
    assert noted["settings"]["same_scale"] is True
    assert noted["settings"]["zoom"] is None


@pytest.mark.parametrize("count", [10, 17, 26, 36])
def test_a_few_of_many_images_are_looked_at_spread_evenly(tmp_path: Path, count: int) -> None:
    """From the first to the last; were others taken, the zoom would be another."""
    spread = {int(k) for k in np.linspace(0, count - 1, SAMPLED).round()}
    paths = drawn(tmp_path / "in", [24 if k in spread else 48 for k in range(count)])
    plan = common_plan([Opening(path) for path in paths], Seer())
    assert plan.zoom == 1.0
    assert plan.reason.count(".png") == SAMPLED
    assert {0, count - 1} <= spread
    assert all(f"in/{k:02}.png" in plan.reason for k in spread)
    assert common_plan([Opening(path) for path in paths], Seer()) == plan


def test_files_of_one_name_in_many_folders_are_many_files(tmp_path: Path) -> None:
    paths = []
    for well, diameter in enumerate([24] * 20 + [48]):
        (path,) = drawn(tmp_path / f"well{well:02}", [diameter])
        paths.append(path)
    plan = common_plan([Opening(path) for path in paths], Seer())
    assert plan.zoom == 1.0
    assert plan.reason.count("00.png") == SAMPLED
    assert "well00/00.png" in plan.reason


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
