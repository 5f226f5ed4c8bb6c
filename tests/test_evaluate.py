from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

import anycell
from anycell.errors import InputError, OutputError, SettingError
from anycell.evaluate import Evaluation, evaluate
from anycell.labels import Labels
from anycell.matching import RULES, Rules
from anycell.scores import score_pair
from cells import CELLS, PAIRS, enlarge

PLAIN = RULES["plain"]
MERGED = PAIRS["merged"]
SPLIT = PAIRS["split"]


def write(path: Path, labels: Labels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".npy":
        np.save(path, labels)
    elif path.suffix.lower() == ".png":
        Picture.fromarray(labels.astype(np.uint16)).save(path)
    else:
        tifffile.imwrite(path, labels.astype(np.uint16))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two groups with three images; the predictions of group b are partly wrong."""
    write(tmp_path / "truth/a/labels/one.png", SPLIT.truth)
    write(tmp_path / "truth/b/labels/one.png", MERGED.truth)
    write(tmp_path / "truth/b/labels/two.png", CELLS["two"])
    (tmp_path / "truth/b/images").mkdir()
    (tmp_path / "truth/b/images/one.png").write_bytes(b"never read")
    write(tmp_path / "pred/a/one_label.tiff", SPLIT.truth)
    write(tmp_path / "pred/b/one_label.tiff", MERGED.prediction)
    write(tmp_path / "pred/b/two_label.tiff", CELLS["two"])
    return tmp_path


def counts(found: Evaluation) -> dict[str, tuple[int, int, int]]:
    """TP, FP and FN at the lowest threshold by group/name."""
    lows = {f"{v.group}/{v.name}": v.scores[0] for v in found.images}
    return {name: (low.tp, low.fp, low.fn) for name, low in lows.items()}


def test_groups(data: Path) -> None:
    found = evaluate(data / "pred", data / "truth", PLAIN)
    assert counts(found) == {"a/one": (1, 0, 0), "b/one": (2, 0, 1), "b/two": (2, 0, 0)}
    assert found.images[1].scores == score_pair(MERGED.prediction, MERGED.truth, PLAIN)
    assert {name: v[0].mean.f1 for name, v in found.groups.items()} == {
        "a": 1.0,
        "b": pytest.approx((0.8 + 1) / 2),
    }
    assert found.overall[0].mean.f1 == pytest.approx((1 + 0.8 + 1) / 3)
    assert found.overall[0].pooled.f1 == pytest.approx(10 / 11)
    assert found.over_groups[0].mean.f1 == pytest.approx((1 + 0.9) / 2)
    assert [v.iou for v in found.overall] == [v.iou for v in found.over_groups] == [*PLAIN.iou]
    assert found.missing == found.unused == ()


def test_the_rules_are_used(data: Path) -> None:
    found = evaluate(data / "pred", data / "truth", Rules(iou=(0.5,), ignore_border=2))
    assert counts(found)["b/two"] == (0, 0, 0)
    assert found.rules == Rules(iou=(0.5,), ignore_border=2)
    assert evaluate(data / "pred", data / "truth").rules == RULES["neurips2022"]


def test_a_missing_prediction_is_full_of_misses(data: Path) -> None:
    (data / "pred/b/one_label.tiff").unlink()
    found = evaluate(data / "pred", data / "truth", PLAIN)
    assert counts(found)["b/one"] == (0, 0, 3)
    assert found.missing == ("b/one",)
    assert found.overall[0].images == 3
    assert found.overall[0].mean.f1 == pytest.approx(2 / 3)


def test_a_missing_prediction_is_not_an_empty_one(data: Path) -> None:
    write(data / "truth/a/labels/one.png", CELLS["empty"])
    write(data / "pred/a/one_label.tiff", CELLS["empty"])
    kind = replace(PLAIN, empty=1.0)
    assert evaluate(data / "pred", data / "truth", kind).groups["a"][0].mean.f1 == 1.0
    (data / "pred/a/one_label.tiff").unlink()
    assert evaluate(data / "pred", data / "truth", kind).groups["a"][0].mean.f1 == 0.0


def test_no_prediction_at_all_is_an_error(data: Path) -> None:
    (data / "nothing").mkdir()
    with pytest.raises(InputError, match=r"(?s)any of 3 images.*one_label\.tiff"):
        evaluate(data / "nothing", data / "truth")
    with pytest.raises(InputError, match="is not a folder"):
        evaluate(data / "nowhere", data / "truth")


@pytest.mark.parametrize("side", ["pred/b/two_label.tiff", "truth/b/labels/two.png"])
def test_an_unreadable_file_is_an_error(data: Path, side: str) -> None:
    (data / side).write_bytes((data / side).read_bytes()[:40])
    with pytest.raises(InputError, match="two"):
        evaluate(data / "pred", data / "truth")


def test_sizes_that_differ_name_both_files(data: Path) -> None:
    write(data / "pred/b/two_label.tiff", CELLS["two"].T)
    with pytest.raises(InputError) as error:
        evaluate(data / "pred", data / "truth")
    for part in ("two_label.tiff has 9 x 6", "two.png has 6 x 9", "swapped"):
        assert part in str(error.value)
    write(data / "pred/b/two_label.tiff", enlarge(CELLS["two"], 2))
    with pytest.raises(InputError, match="12 x 18") as error:
        evaluate(data / "pred", data / "truth")
    assert "swapped" not in str(error.value)


@pytest.mark.parametrize("ending", ["_label.tif", "_label.png", "_label.npy", ".tiff", ".PNG"])
def test_predictions_of_any_kind(data: Path, ending: str) -> None:
    (data / "pred/b/two_label.tiff").unlink()
    write(data / f"pred/b/two{ending}", CELLS["two"])
    found = evaluate(data / "pred", data / "truth")
    assert found.images[2].prediction == data / f"pred/b/two{ending}"


def test_names_end_at_the_first_dot(data: Path) -> None:
    write(data / "truth/b/labels/two.ome.png", CELLS["two"])
    (data / "truth/b/labels/two.png").unlink()
    assert counts(evaluate(data / "pred", data / "truth", PLAIN))["b/two"] == (2, 0, 0)


def test_pictures_beside_the_label_file_are_not_the_prediction(data: Path) -> None:
    for ending in ("png", "tif"):
        (data / f"pred/b/two.{ending}").write_bytes(b"a picture")
    found = evaluate(data / "pred", data / "truth", PLAIN)
    assert counts(found)["b/two"] == (2, 0, 0)


def test_two_predictions_of_one_image_are_an_error(data: Path) -> None:
    write(data / "pred/b/two_label.png", CELLS["two"])
    with pytest.raises(InputError, match=r"two_label\.png and .*two_label\.tiff are both"):
        evaluate(data / "pred", data / "truth")


def test_predictions_without_a_truth_are_listed(data: Path) -> None:
    extra = write(data / "pred/b/three_label.tiff", CELLS["two"])
    (data / "pred/b/three_label.txt").touch()
    assert evaluate(data / "pred", data / "truth").unused == (extra,)


def test_flat_predictions(data: Path) -> None:
    (data / "pred/b/two_label.tiff").rename(data / "pred/two_label.tiff")
    found = evaluate(data / "pred", data / "truth", PLAIN)
    assert found.images[2].prediction == data / "pred/two_label.tiff"
    assert found.missing == ()


def test_a_flat_prediction_for_two_groups_is_an_error(data: Path) -> None:
    (data / "pred/b/one_label.tiff").rename(data / "pred/one_label.tiff")
    (data / "pred/a/one_label.tiff").unlink()
    with pytest.raises(InputError, match=r"'one' of a or b") as error:
        evaluate(data / "pred", data / "truth")
    assert error.value.hint.endswith(f"mv {data}/pred/one_label.tiff {data}/pred/a")


def test_a_flat_and_a_nested_prediction_are_an_error(data: Path) -> None:
    write(data / "pred/two_label.tiff", CELLS["two"])
    with pytest.raises(InputError, match=r"pred/b/two_label\.tiff"):
        evaluate(data / "pred", data / "truth")


def test_one_group_as_the_truth(data: Path) -> None:
    for place in ("truth/b", "truth/b/labels"):
        for predictions in ("pred/b", "pred"):
            found = evaluate(data / predictions, data / place, PLAIN)
            assert counts(found) == {"b/one": (2, 0, 1), "b/two": (2, 0, 0)}


def test_a_plain_folder_as_the_truth(data: Path) -> None:
    write(data / "plain/x_label.tiff", CELLS["two"])
    write(data / "plain/y.npy", CELLS["one"])
    (data / "plain/readme.txt").touch()
    assert counts(evaluate(data / "plain", data / "plain", PLAIN)) == {
        "plain/x": (2, 0, 0),
        "plain/y": (1, 0, 0),
    }


def test_truth_deeper_down_and_truth_as_prediction(data: Path) -> None:
    found = evaluate(data, data, PLAIN)
    assert list(counts(found)) == ["truth/a/one", "truth/b/one", "truth/b/two"]
    assert found.overall[0].mean.f1 == 1.0


def test_folders_without_truth(data: Path) -> None:
    (data / "bare").mkdir()
    with pytest.raises(InputError, match="no label files"):
        evaluate(data / "pred", data / "bare")
    with pytest.raises(InputError, match="is not there"):
        evaluate(data / "pred", data / "nowhere")
    with pytest.raises(InputError, match="is a single file"):
        evaluate(data / "pred", data / "truth/a/labels/one.png")


def test_two_truths_of_one_name_are_an_error(data: Path) -> None:
    write(data / "truth/b/labels/two.tiff", CELLS["two"])
    with pytest.raises(InputError, match=r"two\.png and .*two\.tiff are both called 'two'"):
        evaluate(data / "pred", data / "truth")


MANIFEST = """\
use,group,image,labels,modality
train,a,a/images/one.webp,a/labels/one.png,fluorescence
validate,b,b/images/two.webp,b/labels/two.png,phase contrast
validate,b,b/images/first.webp,b/labels/one.png,fluorescence
unlabeled,c,c/images/x.webp,,fluorescence
"""


@pytest.fixture
def manifest(data: Path) -> Path:
    path = data / "truth/manifest.csv"
    path.write_text(MANIFEST)
    (data / "pred/b/one_label.tiff").rename(data / "pred/b/first_label.tiff")
    return path


def test_a_manifest(data: Path, manifest: Path) -> None:
    found = evaluate(data / "pred", manifest, PLAIN, use="validate")
    assert counts(found) == {"b/first": (2, 0, 1), "b/two": (2, 0, 0)}
    assert {name: v[0].mean.f1 for name, v in found.modalities.items()} == {
        "fluorescence": pytest.approx(0.8),
        "phase contrast": 1.0,
    }
    assert found.unused == (data / "pred/a/one_label.tiff",)


def test_a_manifest_of_several_uses_must_be_told_which(data: Path, manifest: Path) -> None:
    with pytest.raises(SettingError, match=r"(?s)one of train, validate.*--use validate"):
        evaluate(data / "pred", manifest)
    with pytest.raises(SettingError, match="one of train, validate"):
        evaluate(data / "pred", manifest, use="test")
    with pytest.raises(SettingError, match="with the folder"):
        evaluate(data / "pred", data / "truth", use="validate")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\nx.png,x.png\n", "image, labels"),
        ("group,labels\na\n", "row 2: a"),
        ("group,labels\n,x.png\n", "row 2: ,x.png"),
        ("group,labels\n", "no label files"),
        ("", "has columns"),
        ('group,labels\na,"x.png\n', "CSV"),
    ],
)
def test_a_manifest_that_is_not_one(data: Path, text: str, message: str) -> None:
    path = data / "truth/manifest.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        evaluate(data / "pred", path)


def test_csv_and_json_give_back_the_scores(data: Path, tmp_path: Path) -> None:
    (data / "pred/a/one_label.tiff").unlink()
    found = evaluate(data / "pred", data / "truth", PLAIN)
    found.to_csv(tmp_path / "scores.csv")
    found.to_json(tmp_path / "scores.json")
    with (tmp_path / "scores.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    stored = json.loads((tmp_path / "scores.json").read_text())
    expected = [(image, score) for image in found.images for score in image.scores]
    for line, row, (image, score) in zip(table, stored["per_image"], expected, strict=True):
        assert {key: str(value) for key, value in row.items()} == line
        assert (line["group"], line["name"]) == (image.group, image.name)
        assert (int(line["tp"]), int(line["fp"]), int(line["fn"])) == (score.tp, score.fp, score.fn)
        values = asdict(score.values) | {"iou": score.iou, "iou_sum": score.iou_sum}
        assert {key: float(line[key]) for key in values} == values
        assert row["missing"] == (image.prediction is None)
    assert stored["overall"] == [asdict(v) for v in found.overall]
    assert stored["groups"]["b"] == [asdict(v) for v in found.groups["b"]]


def test_json_says_how_the_scores_were_made(data: Path, tmp_path: Path) -> None:
    (data / "pred/b/one_label.tiff").rename(data / "pred/b/uno_label.tiff")
    evaluate(data / "pred", data / "truth").to_json(tmp_path / "named.json")
    own = replace(RULES["neurips2022"], ignore_border=1)
    evaluate(data / "pred", data / "truth", own).to_json(tmp_path / "own.json")
    stored = json.loads((tmp_path / "named.json").read_text())
    assert stored["rules"] == {"name": "neurips2022"} | json.loads(json.dumps(asdict(Rules())))
    assert stored["anycell"] == anycell.__version__
    assert stored["images"] == 3
    assert stored["missing"] == ["b/one"]
    assert stored["unused"] == [str(data / "pred/b/uno_label.tiff")]
    assert stored["truth"] == str(data / "truth")
    stored = json.loads((tmp_path / "own.json").read_text())
    assert (stored["rules"]["name"], stored["rules"]["ignore_border"]) == (None, 1)


def test_results_that_cannot_be_written(data: Path) -> None:
    found = evaluate(data / "pred", data / "truth")
    with pytest.raises(OutputError, match="nowhere"):
        found.to_csv(data / "nowhere/scores.csv")
    with pytest.raises(OutputError, match="nowhere"):
        found.to_json(data / "nowhere/scores.json")


def test_the_table(data: Path, manifest: Path) -> None:
    rows = evaluate(data / "pred", data / "truth", replace(PLAIN, iou=(0.5, 0.8))).table()
    assert [row["group"] for row in rows] == ["a", "b", "mean over groups", "all images"]
    assert rows[1] == {
        "group": "b",
        "images": 2,
        "cells": 5,
        "predicted": 2,
        "F1@0.5 mean": 0.5,
        "F1@0.5 median": 0.5,
        "F1@0.5 pooled": pytest.approx(4 / 7),
        "F1@0.8": 0.5,
        "F1@0.5:0.8": 0.5,
        "precision@0.5": 0.5,
        "recall@0.5": 0.5,
        "AP@0.5": 0.5,
        "PQ@0.5": 0.5,
    }
    rows = evaluate(data / "pred", manifest, use="validate").table()
    assert [row["group"] for row in rows] == ["b", "fluorescence", "phase contrast", "all images"]


def test_progress_is_told(data: Path) -> None:
    told: list[tuple[int, int, str]] = []
    evaluate(
        data / "pred", data / "truth", progress=lambda done, of, name: told.append((done, of, name))
    )
    assert told == [(1, 3, "a/one"), (2, 3, "b/one"), (3, 3, "b/two")]


def test_the_judge_knows_nothing_of_the_judged() -> None:
    code = "import sys, anycell.evaluate, anycell.scores, anycell.matching; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    loaded = set(answer.stdout.split())
    assert "anycell.evaluate" in loaded
    strangers = {"torch", "onnxruntime", "monai"}
    strangers |= {f"anycell.{v}" for v in ("model", "methods", "segment", "networks", "train")}
    assert not loaded & strangers
