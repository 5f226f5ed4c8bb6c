"""The command line end to end: what it writes, prints and exits with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from anycell import __version__
from anycell.cli import app
from anycell.files import open_image, read_labels
from anycell.model import load_model
from drawn import CENTRES, draw, grouped


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def segment(*arguments: object) -> Result:
    return run("segment", "--model", "classical", *arguments)


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def test_version_and_help() -> None:
    assert run("--version").stdout == f"anycell {__version__}\n"
    top = run("--help")
    assert top.exit_code == 0
    for name in ("segment", "train", "evaluate", "info", "methods", "demo", "simulate"):
        assert name in top.stdout
        assert run(name, "--help").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [["--sgment"], ["sgment"], ["segment", "--otu", "x", "a.png"], ["segment", "a.png"]],
    ids=["option", "command", "option of a command", "no -o"],
)
def test_what_cannot_be_understood_exits_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_segment_writes_labels_and_how_they_were_made(tmp_path: Path) -> None:
    image = draw(tmp_path / "cells.v1.png")
    out = tmp_path / "out"
    result = segment(image, "-o", out, "--overlay", "--zoom", "1.0")
    assert result.exit_code == 0, result.output
    found = read_labels(out / "cells_label.tiff")
    assert sorted(np.unique(found)) == [0, 1, 2, 3, 4, 5]
    assert len({int(found[centre]) for centre in CENTRES}) == 5
    drawing = open_image(out / "cells_overlay.png")
    assert drawing.shape == (3, 128, 128)
    assert sorted(p.name for p in out.iterdir()) == [
        "cells_label.tiff", "cells_overlay.png", "run.json",
    ]  # fmt: skip
    made = record(out)
    assert made["command"][0]
    assert made["version"] == __version__
    assert made["model"] == {"name": "classical", "hash": load_model("classical").hash}
    assert made["settings"]["zoom"] == 1.0
    assert made["seconds"] >= made["results"][0]["seconds"] > 0
    assert 20e6 < made["peak_memory_bytes"] < 100e9
    assert made["results"][0]["cells"] == 5
    assert made["results"][0]["image"] == str(image)
    assert {"date", "platform", "python", "processors"} <= set(made)
    assert "5 cells in 1 image" in result.stdout
    assert "[1/1]" in result.stderr


def test_segment_then_evaluate_a_folder_of_groups(tmp_path: Path) -> None:
    data, out = grouped(tmp_path / "data"), tmp_path / "out"
    assert segment(data, "-o", out).exit_code == 0
    labels = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.tiff"))
    assert labels == ["blood/one_label.tiff", "liver/one_label.tiff"]
    result = run("evaluate", out, data, "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    assert scores["missing"] == []
    assert [row["group"] for row in scores["scores"]][:2] == ["blood", "liver"]
    assert all(row["F1@0.5 mean"] == 1.0 for row in scores["scores"])


def test_evaluate_writes_scores_and_says_what_is_missing(tmp_path: Path) -> None:
    data, out, scores = grouped(tmp_path / "data"), tmp_path / "out", tmp_path / "scores"
    segment(data, "-o", out)
    (out / "liver" / "one_label.tiff").unlink()
    result = run("evaluate", out, data, "-o", scores)
    assert result.exit_code == 0, result.output
    assert "missing, counted as misses: liver/one" in result.stderr
    assert "[2/2] liver/one" in result.stderr
    table = result.stdout
    assert "0.500" in table
    assert "…" not in table
    assert all(head in table for head in ("images", "predicted", "precision", "F1@0.5:0.9"))
    assert sorted(p.name for p in scores.iterdir()) == ["run.json", "scores.csv", "scores.json"]
    assert record(scores)["settings"]["rules"]
    assert run("evaluate", out, data, "-q").stdout == ""


def test_evaluate_refuses_unknown_rules(tmp_path: Path) -> None:
    result = run("evaluate", tmp_path, tmp_path, "--rules", "neurips2021")
    assert result.exit_code == 2
    assert "neurips2022" in result.stderr


def test_a_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        draw(tmp_path / "in" / name)
    whole = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "b.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    result = segment(tmp_path / "in", "-o", out)
    assert result.exit_code == 1
    assert (out / "a_label.tiff").exists()
    assert (out / "c_label.tiff").exists()
    assert not (out / "b_label.tiff").exists()
    assert "10 cells in 2 images" in result.stdout
    assert f"failed: {tmp_path / 'in' / 'b.png'}" in result.stdout
    entries = {Path(v["image"]).name: v for v in record(out)["results"]}
    assert [entries[v]["status"] for v in ("a.png", "b.png", "c.png")] == ["done", "failed", "done"]
    assert entries["b.png"]["error"]
    assert entries["b.png"]["labels"] is None


def test_skip_existing_does_only_what_is_left(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(tmp_path / "in" / name)
    out = tmp_path / "out"
    segment(tmp_path / "in", "-o", out)
    (out / "a_label.tiff").unlink()
    before = (out / "b_label.tiff").stat().st_mtime_ns
    result = segment(tmp_path / "in", "-o", out, "--skip-existing")
    assert result.exit_code == 0
    assert "1 skipped" in result.stdout
    assert (out / "a_label.tiff").exists()
    assert (out / "b_label.tiff").stat().st_mtime_ns == before
    assert [v["status"] for v in record(out)["results"]] == ["done", "skipped"]
    again = segment(tmp_path / "in", "-o", out, "--skip-existing", "--overlay")
    assert "5 cells" not in again.stdout, "labels without the overlay are not all that is asked"
    assert (out / "b_overlay.png").exists()


def test_results_inside_the_input_are_not_taken_for_images(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    out = tmp_path / "in" / "out"
    for _ in range(2):
        assert segment(tmp_path / "in", "-o", out, "--overlay").exit_code == 0
        assert len(record(out)["results"]) == 1


def test_quiet_prints_nothing_but_errors(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    result = segment(tmp_path / "in", "-o", tmp_path / "out", "--quiet")
    assert (result.stdout, result.stderr) == ("", "")
    (tmp_path / "in" / "b.png").write_bytes(b"no image")
    result = segment(tmp_path / "in", "-o", tmp_path / "out", "--quiet")
    assert result.exit_code == 1
    assert "a.png" not in result.output
    assert "b.png" in result.stderr


def test_json_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    result = segment(image, "-o", tmp_path / "out", "--json")
    said = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert said["failed"] == 0
    assert said["files"][0]["cells"] == 5
    wrong = segment(tmp_path / "gone.png", "-o", tmp_path / "out", "--json")
    assert wrong.exit_code == 2
    error = json.loads(wrong.stdout)["error"]
    assert error["kind"] == "InputError"
    assert "gone.png" in error["found"]


def test_errors_say_found_expected_and_try(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    result = run("segment", image, "-o", tmp_path / "out", "--model", "clasical")
    assert result.exit_code == 2
    found, expected, hint = result.stderr.splitlines()
    assert found.startswith("error: unknown model 'clasical'")
    assert expected.startswith("expected: ")
    assert hint == "try: classical"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["--zoom", "0.5", "--diameter", "40"], ["--zoom", "0"], ["--diameter", "-3"]]
)
def test_zooms_that_make_no_sense(tmp_path: Path, arguments: list[str]) -> None:
    image = draw(tmp_path / "a.png")
    assert segment(image, "-o", tmp_path / "out", *arguments).exit_code == 2


def test_the_zoom_that_was_used_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, out = draw(tmp_path / "a.png"), tmp_path / "out"
    monkeypatch.setattr(type(load_model("classical")), "diameter", 24.0)
    segment(image, "-o", out, "--diameter", "20")
    made = record(out)
    assert (made["settings"]["zoom"], made["settings"]["diameter"]) == (None, 20)
    assert made["results"][0]["zoom"] == pytest.approx(1.2, rel=1 / 64)
    segment(image, "-o", out, "--zoom", "0.5")
    assert record(out)["results"][0]["zoom"] == 0.5


def test_other_errors_are_bugs_and_keep_their_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("anycell.folders.segment", broken)
    result = segment(draw(tmp_path / "a.png"), "-o", tmp_path / "out")
    assert isinstance(result.exception, ZeroDivisionError)
    assert record(tmp_path / "out")["results"] == []


def test_info_says_what_a_file_holds(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    shown = run("info", image)
    assert shown.exit_code == 0
    assert "128 x 128" in shown.stdout
    facts = json.loads(run("info", image, "--json").stdout)
    assert (facts["rows"], facts["columns"], facts["samples"]) == (128, 128, "uint8")
    assert facts["pixel_size_um"] is None
    assert "plan" not in facts
    wrong = run("info", tmp_path / "gone.png")
    assert wrong.exit_code == 2
    assert "error: " in wrong.stderr


def test_info_shows_the_zooms_without_segmenting(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    asked = ("info", image, "--plan", "--model", "classical")
    shown = run(*asked)
    assert "1: the method has no scale of its own" in shown.stdout
    found = json.loads(run(*asked, "--json").stdout)["plan"]
    assert (found["zoom"], found["tried"], found["zones"], found["skipped"]) == (1.0, [], [], 0.0)
    assert run("info", image, "--model", "classical").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]


def test_methods_are_listed() -> None:
    shown = run("methods").stdout
    said = json.loads(run("methods", "--json").stdout)
    for name in ("classical", "votes"):
        assert name in shown
        assert name in [row["method"] for row in said["methods"]]


def test_the_demo_ends_by_saying_where_to_look(tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path / "demo", "--model", "classical")
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    assert last == f"look at {(tmp_path / 'demo' / 'index.html').as_uri()}"
    assert record(tmp_path / "demo")["model"]["name"] == "classical"


def test_training_without_torch_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("anycell.train")]:
        monkeypatch.delitem(sys.modules, name)
    result = run("train", tmp_path, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "anycell[train]" in result.stderr


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("rat=0.1", "rate"),
        ("rate=fast", "rate=0.001"),
        ("rate", "NAME=VALUE"),
        ("steps=1.5", "NAME=VALUE"),
        ("optimizer=adam", "adamw"),
        ("looks=fat", "far"),
        ("reuse=0", "from 1"),
    ],
)
def test_recipe_settings_are_checked(tmp_path: Path, recipe: str, message: str) -> None:
    pytest.importorskip("torch")
    result = run("train", tmp_path, "-o", tmp_path / "out", "--recipe", recipe)
    assert result.exit_code == 2
    assert message in result.stderr


def test_train_and_segment_with_the_model(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    data, trained, out = grouped(tmp_path / "data"), tmp_path / "trained", tmp_path / "out"
    recipe = ["--steps", "2", "--recipe", "crops=2", "--recipe", "side=64,optimizer=adamw"]
    result = run("train", data, "-o", trained, *recipe, "--workers", "0", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert (said["step"], said["steps"]) == (2, 2)
    made = record(trained)
    assert made["settings"]["recipe"]["side"] == 64
    assert made["results"][0]["step"] == 2
    model = said["folder"]
    assert run("segment", data, "-o", out, "--model", model, "-q").exit_code == 0
    again = run("train", data, "-o", tmp_path / "again", *recipe, "--workers", "0")
    assert "held out for validation, images of each group: liver (1)" in again.stderr
    known = json.loads((Path(model) / "model.json").read_text())
    assert known["sha256"].startswith(record(out)["model"]["hash"])
    assert len(record(out)["results"]) == 2


def test_the_program_segments_without_torch(tmp_path: Path) -> None:
    """As a user starts it: a process of its own, warnings as errors."""
    image = draw(tmp_path / "a.png")
    code = (
        "import sys\n"
        "from anycell.cli import main\n"
        f"sys.argv = ['anycell', 'segment', {str(image)!r}, '-o', {str(tmp_path / 'out')!r},"
        " '--model', 'classical', '--overlay']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'torch', 'monai', 'matplotlib', 'hypothesis'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert record(tmp_path / "out")["command"][0] == "anycell"


def on_a_terminal(command: list[str]) -> tuple[str, str]:
    """Run with stderr on a terminal; what is drawn there, and stdout."""
    import pty

    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=settings) as process:
        os.close(theirs)
        drawn = b""
        while chunk := read_some(ours):
            drawn += chunk
        os.close(ours)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, drawn.decode()
    return drawn.decode(), said.decode()


def read_some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side has closed
        return b""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_gets_a_bar_and_a_log_gets_lines(tmp_path: Path) -> None:
    images = [draw(tmp_path / "in" / name) for name in ("a.png", "b.png")]
    command = [sys.executable, "-m", "anycell", "segment", str(tmp_path / "in")]
    command += ["--model", "classical"]
    drawn, said = on_a_terminal([*command, "-o", str(tmp_path / "bar")])
    assert "\x1b[" in drawn
    assert "2/2" in drawn
    assert said.startswith("10 cells in 2 images")
    plain = subprocess.run(
        [*command, "-o", str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    assert "\x1b[" not in plain.stderr
    for line, number, image in zip(plain.stderr.splitlines(), "12", images, strict=True):
        assert line.startswith(f"[{number}/2] {image}: 5 cells in ")
    assert record(tmp_path / "log")["command"][:2] == ["anycell", "segment"]
