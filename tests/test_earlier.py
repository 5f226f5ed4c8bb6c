"""Running again into the same folder: what is kept, what is refused, what is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from drawn import draw, grouped
from test_cli import record, run, segment


def test_run_json_keeps_what_earlier_runs_said_of_labels_that_are_left_alone(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "in" / "a.png")
    draw(tmp_path / "in" / "deep" / "b.png")
    out = tmp_path / "out"
    segment(tmp_path / "in", "-o", out, "--zoom", "1")
    first = record(out)
    assert first["earlier"] == []
    for _ in range(2):  # what is kept is kept again
        assert segment(tmp_path / "in", "-o", out, "--skip-existing").exit_code == 0
        again = record(out)
        assert [v["cells"] for v in again["results"]] == [None, None]
        kept = {v["labels"]: v for v in again["earlier"]}
        assert set(kept) == {str(out / "a_label.tiff"), str(out / "deep" / "b_label.tiff")}
        for entry in first["results"]:
            assert {k: kept[entry["labels"]][k] for k in entry} == entry
            made = kept[entry["labels"]]["made"]
            assert {k: first[k] for k in made} == made
            assert made["settings"]["zoom"] == 1.0
    segment(tmp_path / "in" / "a.png", "-o", out)
    assert [v["labels"] for v in record(out)["earlier"]] == [str(out / "deep" / "b_label.tiff")]
    (out / "deep" / "b_label.tiff").unlink()
    segment(tmp_path / "in" / "a.png", "-o", out)
    assert record(out)["earlier"] == []


def test_other_commands_keep_what_was_said_of_labels(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    out = tmp_path / "out"
    segment(image, "-o", out)
    assert run("convert", out, "-o", out, "--to", "csv").exit_code == 0
    (kept,) = record(out)["earlier"]
    assert kept["cells"] == 5
    assert kept["made"]["settings"]["zoom"] is None
    assert segment(image, "-o", out, "--resume", "--zoom", "1").exit_code == 1


def test_resume_refuses_finished_labels_of_other_settings(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    out = tmp_path / "out"
    assert segment(image, "-o", out).exit_code == 0
    assert segment(image, "-o", out, "--resume", "--quiet").exit_code == 0
    before = (out / "a_label.tiff").read_bytes()
    result = segment(image, "-o", out, "--resume", "--region", "0,0,30,30")
    assert result.exit_code == 1
    assert "region none, now 0,0,30,30" in result.stderr
    assert "--restart" in result.stderr
    assert (out / "a_label.tiff").read_bytes() == before
    assert segment(image, "-o", out, "--resume").exit_code == 0, "the labels' own settings"
    other = segment(image, "-o", out, "--resume", "--model", "general")
    assert other.exit_code == 1
    assert "was made with model " in other.stderr
    assert segment(image, "-o", out, "--restart", "--region", "0,0,30,30").exit_code == 0
    assert segment(image, "-o", out, "--resume", "--region", "0,0,30,30").exit_code == 0


def test_a_run_json_that_is_not_ours_says_nothing(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    out = tmp_path / "out"
    segment(image, "-o", out)
    for text in ("no json", "[]", "{}", '{"results": 3}'):
        (out / "run.json").write_text(text)
        assert segment(image, "-o", out, "--resume").exit_code == 0
        assert record(out)["earlier"] == []


def test_the_folder_of_a_training_names_the_model_inside(tmp_path: Path) -> None:
    (tmp_path / "run" / "best").mkdir(parents=True)
    result = segment(draw(tmp_path / "a.png"), "-o", tmp_path / "out", "--model", tmp_path / "run")
    assert result.exit_code == 2
    assert f"try: {tmp_path / 'run' / 'best'}" in result.stderr


def test_where_nothing_is_found_the_error_says_what_is_left_out(tmp_path: Path) -> None:
    segment(draw(tmp_path / "a.png"), "-o", tmp_path / "out", "--overlay")
    result = segment(tmp_path / "out", "-o", tmp_path / "again")
    assert result.exit_code == 2
    assert "NAME_label.tiff" in result.stderr


def test_seams_of_a_shard_are_refused(tmp_path: Path) -> None:
    image = draw(tmp_path / "a.png")
    result = segment(image, "-o", tmp_path / "out", "--shard", "1/2", "--check-seams")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_images_whose_cells_may_be_of_another_size_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = draw(tmp_path / "a.png")
    assert "unsure" not in segment(image, "-o", tmp_path / "out").stdout
    monkeypatch.setattr("anycell.scale.STEADY", "")
    told = segment(image, "-o", tmp_path / "out")
    assert "unsure how large the cells are in 1 image" in told.stdout
    assert f"  {image}: 5 cells at zoom 1" in told.stdout
    assert "unsure" not in segment(image, "-o", tmp_path / "out", "--zoom", "1").stdout


@pytest.mark.parametrize("command", ["train", "simulate", "segment", "convert"])
def test_a_folder_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    out = tmp_path / "file" / "out"
    if command == "train":
        pytest.importorskip("torch")
    data = grouped(tmp_path / "data")
    where: tuple[object, ...] = {
        "train": (data, "-o", out),
        "simulate": (out, "--count", "1", "--modalities", "dic"),
        "segment": (draw(tmp_path / "a.png"), "-o", out, "--model", "classical"),
        "convert": (data / "blood" / "labels", "-o", out, "--to", "csv"),
    }[command]
    result = run(command, *where)
    assert result.exit_code == 2, result.output
    assert f"{out}" in result.stderr
    assert "another folder" in result.stderr
