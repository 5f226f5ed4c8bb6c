"""Model folders: what is in them, what is wrong with them, and what computes them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from anycell.cli import app
from anycell.errors import ModelError, OutputError, SettingError
from anycell.model import (
    DEFAULT,
    Model,
    bundled,
    check_difference,
    copy_model,
    identity,
    load_model,
    model_folder,
    precisions,
    read_about,
)
from anycell.runtimes import RUNTIMES, installed, open_graph
from drawn import draw


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled model that a test may damage; it takes the float graph."""
    copy = Path(shutil.copytree(model_folder(DEFAULT), tmp_path / "mine"))
    describe(copy, precision="fp32")
    return copy


def describe(folder: Path, **entries: Any) -> None:
    """Change entries of a folder's model.json."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.onnx", "check.npz", "model.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        load_model(folder)


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize("name", ["model.onnx", "check.npz"])
def test_a_damaged_file_is_named(folder: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(folder / name)
    with pytest.raises(ModelError, match=name):
        load_model(folder)
    result = run("models", "verify", folder)
    assert result.exit_code == 1
    assert name in result.stderr


def test_a_graph_that_is_none_is_the_runtimes_error(folder: Path) -> None:
    for runtime in installed():
        with pytest.raises(ModelError, match=f"{runtime} cannot load"):
            open_graph(b"no graph", runtime)
    (folder / "model.onnx").write_bytes(b"no graph")
    describe(folder, sha256=hashlib.sha256(b"no graph").hexdigest())
    with pytest.raises(ModelError, match="cannot load"):
        load_model(folder)


@pytest.mark.parametrize("told", [0, 3, None, "1"])
def test_another_format_is_refused(folder: Path, told: object) -> None:
    describe(folder, format=told)
    with pytest.raises(ModelError, match=r"format.*\nexpected: format 1 or 2"):
        load_model(folder)
    assert run("models", "verify", folder).exit_code == 1


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_description_that_is_none(folder: Path, text: str) -> None:
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="model"):
        load_model(folder)


def test_a_description_that_lacks_something_says_what(folder: Path) -> None:
    path = folder / "model.json"
    about = json.loads(path.read_text())
    del about["halo"]
    path.write_text(json.dumps(about))
    with pytest.raises(ModelError, match="does not say halo"):
        load_model(folder)


def test_outputs_that_are_not_the_stored_ones_are_refused(folder: Path) -> None:
    with np.load(folder / "check.npz") as stored:
        image, outputs = stored["image"], stored["outputs"]
    off = 0.03 * np.abs(outputs).max()
    outputs[0, 5, 3, 3] += off
    np.savez_compressed(folder / "check.npz", image=image, outputs=outputs)
    with pytest.raises(ModelError, match=r"differ by 2\.\d+%|differ by 3\.\d+%"):
        load_model(folder)
    np.savez_compressed(folder / "check.npz", image=image, outputs=outputs[:, :5])
    with pytest.raises(ModelError, match="shape"):
        load_model(folder)


def test_precisions_that_are_not_there(folder: Path) -> None:
    assert precisions(read_about(folder))[0] == read_about(folder).get("precision", "fp32")
    with pytest.raises(SettingError, match="int9"):
        load_model(folder, precision="int9")
    about = read_about(folder)
    if "int8" not in about:
        with pytest.raises(SettingError, match="does not come in int8"):
            load_model(folder, precision="int8")
    with pytest.raises(SettingError, match="classical"):
        load_model("classical", precision="int8")
    with pytest.raises(SettingError, match="classical"):
        load_model("classical", runtime="openvino")


def test_runtimes_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="onnxruntime"):
        open_graph(b"", "onnxruntim")
    monkeypatch.setattr("anycell.runtimes.find_spec", lambda name: name == "onnxruntime" or None)
    assert installed() == ("onnxruntime",)
    with pytest.raises(SettingError, match=r"anycell\[openvino\]"):
        load_model(DEFAULT, runtime="openvino")


def test_what_run_json_notes_of_a_model(tmp_path: Path) -> None:
    model = load_model(DEFAULT, precision="fp32", runtime="onnxruntime")
    wanted = {
        "name": DEFAULT,
        "hash": read_about(model_folder(DEFAULT))["sha256"][:16],
        "precision": "fp32",
        "runtime": "onnxruntime",
    }
    assert identity(model) == wanted
    image = draw(tmp_path / "a.png")
    options = ("--precision", "fp32", "--runtime", "onnxruntime", "--zoom", "1")
    assert run("segment", image, "-o", tmp_path / "out", *options).exit_code == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"] == wanted
    result = run("segment", image, "-o", tmp_path / "out", "--precision", "fp31")
    assert result.exit_code == 2
    assert "fp32" in result.stderr


@pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
@pytest.mark.parametrize("precision", precisions(read_about(model_folder(DEFAULT))))
def test_runtimes_agree(precision: str) -> None:
    """Outputs within the tolerance of the check; the same cells, nearly so in int8."""
    from anycell.matching import Rules
    from anycell.scores import score_pair
    from anycell.segment import segment
    from anycell.simulate import simulate

    models = [load_model(DEFAULT, precision=precision, runtime=name) for name in RUNTIMES]
    for modality in ("nuclei", "phase"):
        image = simulate(modality, (256, 256), diameter=24.0, seed=3).image
        found = [segment(image, model, zoom=1.0).labels for model in models]
        assert found[0].max() > 5
        score = score_pair(found[1], found[0], Rules(iou=(0.5,), ignore_border=0))[0]
        assert score.values.f1 >= (0.99 if precision == "fp32" else 0.95)
    tiles = np.random.default_rng(0).uniform(0, 1, (2, 3, 96, 128)).astype(np.float32)
    one, other = (model.outputs(tiles) for model in models)
    allowed = 0.002 if precision == "fp32" else 0.1
    assert np.abs(one - other).max() <= allowed * np.abs(one).max()


@pytest.mark.parametrize("runtime", installed())
def test_outputs_are_the_callers_own(runtime: str) -> None:
    model = load_model(DEFAULT, runtime=runtime)
    tiles = np.random.default_rng(0).uniform(0, 1, (1, 3, 64, 64)).astype(np.float32)
    first = model.outputs(tiles)
    before = first.copy()
    model.outputs(1.0 - tiles)
    assert np.array_equal(first, before)


def test_a_list_and_a_verification_of_the_bundled_models() -> None:
    listed = json.loads(run("models", "list", "--json").stdout)["models"]
    assert [row["model"] for row in listed] == list(bundled())
    assert all(row["parameters"] > 1e6 and row["trained_on"] for row in listed)
    assert DEFAULT in run("models", "list").stdout
    result = run("models", "verify", "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["damaged"] == []
    checked = {(row["model"], row["precision"], row["runtime"]) for row in said["checks"]}
    assert (DEFAULT, "fp32", "onnxruntime") in checked
    assert run("models", "verify", "generul").exit_code == 2


def test_a_copy_is_the_model_and_never_lies_on_it(tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "copy"
    assert run("models", "export", DEFAULT, "-o", out).exit_code == 0
    assert load_model(out).hash == load_model(DEFAULT).hash
    with pytest.raises(OutputError, match="itself"):
        copy_model(folder, folder)
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx"):
        copy_model(folder, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_best_of_a_run_is_exported(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "run").mkdir()
    folder.rename(tmp_path / "run" / "best")
    assert run("models", "export", tmp_path / "run", "-o", tmp_path / "out").exit_code == 0
    assert load_model(tmp_path / "out").name == "out"


def test_options_of_export_that_do_not_go_together(tmp_path: Path) -> None:
    for options in (("--precision", "int8"), ("--calibrate", tmp_path), ("--precision", "int7")):
        result = run("models", "export", DEFAULT, "-o", tmp_path / "out", *options)
        assert result.exit_code == 2, options
        assert "int8" in result.stderr
        assert not (tmp_path / "out").exists()


def test_a_card_is_shown_or_what_is_known(folder: Path) -> None:
    (folder / "card.md").unlink(missing_ok=True)
    assert "mine has no card" in run("models", "show", folder).stdout
    (folder / "card.md").write_text("# Other weights\n")
    assert "mine has a card of other weights" in run("models", "show", folder).stdout
    text = f"# Mine\n{read_about(folder)['sha256']}\n"
    (folder / "card.md").write_text(text)
    assert run("models", "show", folder).stdout == text
    about = json.loads(run("models", "show", folder, "--json").stdout)
    assert about == read_about(folder)


def test_a_check_says_how_far_off(folder: Path) -> None:
    model = load_model(folder)
    assert isinstance(model, Model)
    assert 0 <= check_difference(model, folder) < 0.02
