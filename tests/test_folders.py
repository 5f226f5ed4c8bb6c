"""Many files: which are found, where their results go, and what is noted of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anycell.errors import InputError, OutputError
from anycell.files import open_image
from anycell.folders import FileResult, FolderSettings, segment_files
from anycell.image import Image, Region
from anycell.model import load_model
from anycell.runs import Clock, write_run
from anycell.tasks import Task, find_tasks
from drawn import disks, draw, grouped


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def test_the_diameter_decides_the_zoom(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("classical")
    image = Image.from_array(np.zeros((9, 9)))
    assert FolderSettings().zoom_for(model, image) is None
    assert FolderSettings(zoom=0.25).zoom_for(model, image) == 0.25
    assert FolderSettings(diameter=48.0).zoom_for(model, image) == 1.0, "any size suits this model"
    monkeypatch.setattr(type(model), "diameter", 24.0)
    assert FolderSettings(diameter=48.0).zoom_for(model, image) == 0.5


def test_the_plan_is_noted_unless_the_zoom_is_given(tmp_path: Path) -> None:
    tasks = find_tasks([draw(tmp_path / "a.png")], tmp_path)
    segment_files(tasks, tmp_path, load_model("classical"), FolderSettings())
    (found,) = record(tmp_path)["results"]
    assert found["plan"] == {
        "reason": "the method has no scale of its own",
        "tried": [],
        "skipped": 0.0,
        "zones": [],
    }
    segment_files(tasks, tmp_path, load_model("classical"), FolderSettings(zoom=1.0))
    assert record(tmp_path)["results"][0]["plan"] is None


def test_large_overlays_are_shrunk_with_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycell.exports.OVERLAY_SIDE", 64)
    out = tmp_path / "out"
    tasks = find_tasks([draw(tmp_path / "a.png")], out)
    segment_files(tasks, out, load_model("classical"), FolderSettings(overlay=True))
    drawing = open_image(tasks[0].overlay)
    assert drawing.shape == (3, 64, 64)
    pixels = drawing.read(Region(0, 0, 64, 64))
    colored = np.ptp(pixels.astype(int), axis=0) > 50
    inside = disks(12)[::2, ::2] > 0
    assert colored.sum() > 100
    assert inside[colored].mean() > 0.99


def test_two_images_that_would_write_one_file_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "a.v2.bmp")
    with pytest.raises(InputError, match=r"a\.png and .*a\.v2\.bmp would both write"):
        find_tasks([tmp_path / "in"], tmp_path / "out")


def test_an_image_named_twice_is_segmented_once(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    assert len(find_tasks([image, image], tmp_path / "out")) == 1


def test_folders_are_followed_and_truth_is_not(tmp_path: Path) -> None:
    data = grouped(tmp_path / "data")
    draw(data / "top.png")
    draw(data / ".hidden" / "no.png")
    draw(data / "deep" / "er" / "two.png")
    out = tmp_path / "out"
    found = [task.labels.relative_to(out).as_posix() for task in find_tasks([data], out)]
    assert sorted(found) == [
        "blood/one_label.tiff", "deep/er/two_label.tiff", "liver/one_label.tiff", "top_label.tiff",
    ]  # fmt: skip
    flat = find_tasks([data], out, recursive=False)
    assert [task.labels for task in flat] == [out / "top_label.tiff"]


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    draw(tmp_path / "below" / "a.png")
    with pytest.raises(InputError, match="--no-recursive"):
        find_tasks([tmp_path], tmp_path / "out", recursive=False)
    with pytest.raises(InputError, match="no image in"):
        find_tasks([tmp_path], tmp_path / "below")


def test_a_run_that_is_broken_off_says_what_was_done(tmp_path: Path) -> None:
    class Impatient:
        def tile(self, task: Task, done: int, total: int) -> None:
            """Wait."""

        def file(self, result: FileResult) -> None:
            raise KeyboardInterrupt

    for name in ("a.png", "b.png"):
        draw(tmp_path / "in" / name)
    out = tmp_path / "out"
    tasks = find_tasks([tmp_path / "in"], out)
    with pytest.raises(KeyboardInterrupt):
        segment_files(tasks, out, load_model("classical"), FolderSettings(), Impatient())
    assert [Path(v["image"]).name for v in record(out)["results"]] == ["a.png"]


def test_run_json_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str, encoding: str) -> None:
        with path.open("w", encoding=encoding) as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device")

    write_run(tmp_path, Clock(), settings={"zoom": 2})
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OutputError, match=r"run\.json cannot be written: No space"):
        write_run(tmp_path, Clock(), settings={"zoom": 3})
    assert record(tmp_path)["settings"] == {"zoom": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file cannot be made"):
        write_run(tmp_path / "file", Clock(), settings={})


def test_run_json_is_json_whatever_it_is_given(tmp_path: Path) -> None:
    settings = {"out": tmp_path, "f1": float("nan"), "sides": (1, 2.5), "deep": {"none": None}}
    text = write_run(tmp_path, Clock(), settings=settings).read_text()
    assert "NaN" not in text
    assert record(tmp_path)["settings"] == {
        "out": str(tmp_path), "f1": None, "sides": [1, 2.5], "deep": {"none": None},
    }  # fmt: skip
