"""Labels of any kind, converted, trained on and judged; segmentations exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from anycell.cli import app
from anycell.errors import InputError
from anycell.evaluate import evaluate
from anycell.files import read_labels, write_labels
from anycell.samples import find_samples
from anycell.tasks import find_tasks
from cells import CELLS
from drawn import disks, draw
from foreign import cellpose, coco, feature, geojson, masks, square

LABELS = CELLS["touching"]
RLE = {"size": [6, 8], "counts": [2, 3, 43]}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def data_of_many_kinds(folder: Path) -> Path:
    """Groups whose labels each have another form."""
    truth = disks()
    for group in ("tiff", "seg", "json", "coco", "rois"):
        draw(folder / group / "images" / "one.png")
        (folder / group / "labels").mkdir()
    write_labels(truth, folder / "tiff" / "labels" / "one_label.tiff")
    cellpose(folder / "seg" / "labels" / "one_seg.npy", truth)
    kinds = {"json": "geojson", "coco": "coco", "rois": "roi"}
    source = folder / "tiff" / "labels" / "one_label.tiff"
    for group, form in kinds.items():
        out = folder / group / "labels"
        assert run("convert", source, "-o", out, "--to", form, "-q").exit_code == 0
        (out / "run.json").unlink()
    draw(folder / "bowl" / "id1" / "images" / "id1.png")
    masks(folder / "bowl" / "id1" / "masks", truth)
    return folder


def test_training_takes_labels_of_any_kind(tmp_path: Path) -> None:
    data = data_of_many_kinds(tmp_path / "data")
    found = find_samples(data)
    assert [s.group for s in found] == ["bowl", "coco", "json", "rois", "seg", "tiff"]
    assert {s.use for s in found} == {"train", "validate"}
    for sample in found:
        assert sample.labels is not None
        np.testing.assert_array_equal(read_labels(sample.labels, shape=(128, 128)), disks())


def test_evaluation_takes_labels_of_any_kind(tmp_path: Path) -> None:
    data = data_of_many_kinds(tmp_path / "data")
    out = tmp_path / "out"
    for task in find_tasks([data], out):
        task.labels.parent.mkdir(parents=True, exist_ok=True)
        write_labels(disks(), task.labels)
    assert (out / "bowl" / "id1_label.tiff").is_file()
    found = evaluate(out, data)
    assert not found.missing
    assert {image.group for image in found.images} == {
        "bowl", "coco", "json", "rois", "seg", "tiff",
    }  # fmt: skip
    assert all(image.scores[0].values.f1 == 1 for image in found.images)


def test_a_bowl_of_images_without_groups(tmp_path: Path) -> None:
    data = tmp_path / "bowl"
    for name in ("id1", "id2", "id3"):
        draw(data / name / "images" / f"{name}.png")
        masks(data / name / "masks", disks())
    found = find_samples(data)
    assert [(s.group, s.image.stem, s.use) for s in found] == [
        ("bowl", "id1", "train"), ("bowl", "id2", "train"), ("bowl", "id3", "validate"),
    ]  # fmt: skip
    tasks = find_tasks([data], tmp_path / "out")
    assert [task.labels.name for task in tasks] == [f"id{k}_label.tiff" for k in (1, 2, 3)]
    assert {task.labels.parent for task in tasks} == {tmp_path / "out"}
    draw(data / "id1" / "images" / "other.png")
    with pytest.raises(InputError, match=r"holds 2 images, and masks/ lies beside"):
        find_samples(data)


def test_two_files_of_labels_for_one_image_are_refused(tmp_path: Path) -> None:
    data = data_of_many_kinds(tmp_path / "data")
    write_labels(disks(), data / "seg" / "labels" / "one_label.tiff")
    with pytest.raises(InputError, match=r"one_label\.tiff and .*one_seg\.npy are both labels"):
        find_samples(data)


def test_everything_converts_to_labels(tmp_path: Path) -> None:
    data = data_of_many_kinds(tmp_path / "data")
    for group in ("tiff", "seg", "json", "coco", "rois", "bowl"):
        image = data / group / ("id1/images" if group == "bowl" else "images")
        out = tmp_path / "out" / group
        result = run("convert", data / group, "-o", out, "--image", image)
        assert result.exit_code == 0, result.output
        (path,) = out.glob("*_label.tiff")
        np.testing.assert_array_equal(read_labels(path), disks())
        assert json.loads((out / "run.json").read_text())["results"][0]["cells"] == 5


def test_a_data_set_in_one_coco_file_becomes_a_file_for_each_image(tmp_path: Path) -> None:
    path = coco(
        tmp_path / "instances.json",
        [{"segmentation": RLE}, {"segmentation": RLE, "image_id": 2}],
        ("x/a.png", "x/b.png", "x/c.png"),
    )
    assert run("convert", path, "-o", tmp_path / "out").exit_code == 0
    found = {p.name: int(read_labels(p).max()) for p in (tmp_path / "out").glob("*.tiff")}
    assert found == {"a_label.tiff": 1, "b_label.tiff": 2, "c_label.tiff": 0}


def test_convert_says_what_is_wrong_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_labels(LABELS, tmp_path / "in" / "a_label.tiff")
    geojson(tmp_path / "in" / "b.geojson", feature(square(0, 0, 3)), size=[2, 2])
    result = run("convert", tmp_path / "in", "-o", tmp_path / "out", "--to", "csv,geojson")
    assert result.exit_code == 1
    assert "b.geojson" in result.stderr
    assert "reaches outside" in result.stderr
    assert (tmp_path / "out" / "a_cells.csv").is_file()
    assert not (tmp_path / "out" / "b.geojson").exists()
    again = run("convert", tmp_path / "in", "-o", tmp_path / "in", "--to", "labels")
    assert again.exit_code == 2
    assert "ANOTHER_FOLDER" in again.stderr


def test_segment_exports_with_confidence_and_flags(tmp_path: Path) -> None:
    image, out = draw(tmp_path / "cells.png"), tmp_path / "out"
    result = run("segment", image, "-o", out, "--model", "classical", "--export", "all", "-q")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "cells.geojson", "cells.ome.zarr", "cells_cells.csv", "cells_coco.json",
        "cells_label.tiff", "cells_overlay.png", "cells_rois.zip", "cells_v04.ome.zarr", "run.json",
    ]  # fmt: skip
    labels = read_labels(out / "cells_label.tiff")
    for name in ("cells.geojson", "cells.ome.zarr", "cells_coco.json", "cells_rois.zip"):
        np.testing.assert_array_equal(read_labels(out / name, shape=labels.shape), labels)
    features = json.loads((out / "cells.geojson").read_text())["features"]
    values = features[0]["properties"]["measurements"]
    assert 0 < values["confidence"] <= 1
    assert {"touches_border", "out_of_range_size", "crosses_tile_line"} <= set(values)
    skipped = run(
        "segment", image, "-o", out, "--model", "classical", "--export", "all", "--skip-existing"
    )
    assert "1 skipped" in skipped.stdout
    (out / "cells.geojson").unlink()
    run("segment", image, "-o", out, "--model", "classical", "--export", "csv", "--skip-existing")
    assert not (out / "cells.geojson").exists()


def test_slides_are_exported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = draw(tmp_path / "cells.png")
    for pixels, out in ((10**9, tmp_path / "whole"), (1, tmp_path / "slide")):
        monkeypatch.setattr("anycell.folders.SLIDE_PIXELS", pixels)
        result = run(
            "segment", image, "-o", out, "--model", "classical", "--export", "geojson,csv", "-q"
        )
        assert result.exit_code == 0, result.output
    for name in ("cells.geojson", "cells_cells.csv"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "slide" / name).read_text()
    refused = run("segment", image, "-o", tmp_path / "s", "--export", "csv", "--shard", "1/2")
    assert refused.exit_code == 2
    assert "exports of a shard" in refused.stderr


def test_exports_beside_labels_do_not_confuse_the_judge(tmp_path: Path) -> None:
    image, out = draw(tmp_path / "cells.png"), tmp_path / "out"
    assert run("segment", image, "-o", out, "--model", "classical", "--export", "all", "-q")
    found = evaluate(out, out)
    (judged,) = (one for one in found.images if one.name == "cells")
    assert judged.truth == judged.prediction == out / "cells_label.tiff"
    assert judged.scores[0].values.f1 == 1
