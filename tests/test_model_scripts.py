"""What is done when the model of the package changes: calibrating, int8, the card."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from anycell.cli import app
from anycell.files import write_labels
from anycell.model import DEFAULT, Model, load_model, model_folder, read_about
from anycell.simulate import simulate

pytest.importorskip("matplotlib")
pytest.importorskip("onnx")

ROOT = Path(__file__).resolve().parents[1]
Script = Callable[..., ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Run one of the scripts with arguments; give the module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))

    def run(name: str, *arguments: object, root: Path | None = None) -> ModuleType:
        module = __import__(name)
        if root is not None:
            monkeypatch.setattr(module, "ROOT", root)
        if arguments:
            monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
            module.main()
        return module  # type: ignore[no-any-return]

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One group to train on and two that are held out, two images each."""
    root = tmp_path_factory.mktemp("data")
    rows = ["use,group,image,labels,cells"]
    for k, (use, group) in enumerate((("train", "a"), ("validate", "b"), ("validate", "c"))):
        for name in ("one", "two"):
            made = simulate("nuclei", (160, 160), diameter=24.0, seed=10 * k + len(name))
            image = Path(use, group, "images", f"{name}.png")
            labels = Path(use, group, "labels", f"{name}.png")
            for path in (image, labels):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
            Picture.fromarray(np.squeeze(made.image)).save(root / image)
            write_labels(made.labels, root / labels)
            rows.append(f"{use},{group},{image},{labels},{made.labels.max()}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    source = {"source": "drawn here | twice", "licence": "GPL-3.0"}
    (root / "sources.json").write_text(json.dumps({"a": source}))
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder(DEFAULT), tmp_path / "tiny"))


def test_groups_weigh_the_same_in_the_map_of_confidences(script: Script) -> None:
    calibrate = script("calibrate")
    many = calibrate.Cells(np.full(3000, 0.6, np.float32), np.ones(3000, bool))
    few = calibrate.Cells(np.full(30, 0.6, np.float32), np.zeros(30, bool))
    found = calibrate.fitted([many, few], np.linspace(0.05, 0.95, 19))
    assert found.at(0.6) == pytest.approx(0.5, abs=0.02)


def test_calibrating_writes_a_map_that_the_model_then_uses(
    script: Script, data: Path, model: Path, tmp_path: Path
) -> None:
    before = read_about(model)
    script("calibrate", model, data, "--figure", tmp_path / "figures" / "r.png")
    about = read_about(model)
    found = about["confidence"]
    assert {k: v for k, v in about.items() if k != "confidence"} == {
        k: v for k, v in before.items() if k != "confidence"
    }
    assert found["fitted_on"] == sorted(found["held_out"]) == ["b", "c"]
    assert found["raw"] == sorted(found["raw"])
    assert found["chance"] == sorted(found["chance"])
    assert found["chance"] != before["confidence"]["chance"]
    loaded = load_model(model, threads=1)
    assert isinstance(loaded, Model)
    middle = len(found["raw"]) // 2
    assert loaded.confidence_map.at(found["raw"][middle]) == pytest.approx(found["chance"][middle])
    assert (tmp_path / "figures" / "r.png").stat().st_size > 5000


@pytest.mark.parametrize(("bar", "ships"), [(1.0, "minmax"), (-1.0, None)])
def test_int8_is_shipped_only_if_f1_does_not_fall(
    script: Script, data: Path, model: Path, tmp_path: Path, bar: float, ships: str | None
) -> None:
    about = read_about(model)
    about.pop("int8", None)
    (model / "model.json").write_text(json.dumps(about | {"precision": "fp32"}))
    docs = tmp_path / "runtimes.md"
    docs.write_text("before\n<!-- int8 -->\nold\n<!-- /int8 -->\nafter\n")
    only = ("--only", "minmax", "--repeats", 1, "--per-group", 1, "--gain", 0, "--bar", bar)
    script("decide_int8", model, data, tmp_path / "out", *only, "--keep", "--docs", docs)
    told = json.loads((tmp_path / "out" / "int8.json").read_text())
    assert list(told["rows"]) == ["fp32", "minmax"]
    assert (told["images"], told["ships"]) == (2, ships)
    assert set(told["rows"]["fp32"]["groups"]) == {"b", "c"}
    about = read_about(model)
    assert about.get("precision", "fp32") == ("int8" if ships else "fp32")
    assert ("int8" in about) == (model / "model_int8.onnx").exists() == (ships is not None)
    text = docs.read_text()
    assert text.startswith("before\n<!-- int8 -->\n| graph")
    assert text.endswith("<!-- /int8 -->\nafter\n")
    assert "old" not in text
    assert f"| minmax | {told['rows']['minmax']['f1@0.5']:.4f} |" in text
    if ships is None:
        return
    there = (model / "model_int8.onnx").read_bytes()
    script("decide_int8", model, data, tmp_path / "out", *only, "--keep")
    told = json.loads((tmp_path / "out" / "int8.json").read_text())
    assert list(told["rows"]) == ["fp32", "in the model already", "minmax"]
    assert told["ships"] == "in the model already"
    assert told["rows"]["in the model already"]["settings"] == about["int8"]["settings"]
    assert (model / "model_int8.onnx").read_bytes() == there


def test_the_card_says_what_the_files_say(
    script: Script, data: Path, model: Path, tmp_path: Path
) -> None:
    about = read_about(model)
    about |= {"trained_on": ["a", "drawn"], "images": 7}
    (model / "model.json").write_text(json.dumps(about))
    out, scores = tmp_path / "out", tmp_path / "scores"
    arguments = ["segment", str(data / "validate"), "-o", str(out), "--model", str(model), "-q"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    judging = ["evaluate", str(out), str(data / "validate"), "-o", str(scores), "-q"]
    assert CliRunner().invoke(app, judging).exit_code == 0
    root = tmp_path / "root"
    (root / "docs" / "figures").mkdir(parents=True)
    script("model_card", data, scores, "--model", model, root=root)
    card = (model / "card.md").read_text()
    rows = json.loads((scores / "scores.json").read_text())["per_image"]
    own = [row for row in rows if row["iou"] == 0.5]
    for group in ("b", "c"):
        f1 = np.mean([row["f1"] for row in own if row["group"] == group])
        assert f"| {group} | 2 | " in card
        assert f"| {f1:.3f} (" in card
    groups = [[r["f1"] for r in own if r["group"] == g] for g in ("b", "c")]
    assert f"**{np.mean([np.mean(v) for v in groups]):.3f}**" in card
    assert "drawn here / twice" in card
    assert "| drawn | 5 | exact |" in card
    assert "GPL" in card
    assert about["sha256"] in card
    shown = (root / "docs" / "model_card.md").read_text()
    for group in ("b", "c"):
        assert f"figures/failure_{group}.webp" in shown
        assert (root / "docs" / "figures" / f"failure_{group}.webp").stat().st_size > 1000


def test_a_card_is_not_made_of_another_models_scores(
    script: Script, data: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"model": {"hash": "0" * 16}}))
    (tmp_path / "scores.json").write_text(json.dumps({"predictions": str(tmp_path)}))
    with pytest.raises(SystemExit, match="scores are of model 0000"):
        script("model_card", data, tmp_path, "--model", model)
