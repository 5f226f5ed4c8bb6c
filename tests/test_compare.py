"""Comparing: end to end through the command line, resume, other tools, intervals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from anycell.cli import app
from anycell.compare import (
    ComparePlan,
    Comparison,
    Entry,
    compare,
    read_comparison,
    resample_means,
    short_name,
    standings,
)
from anycell.errors import FormatError, InputError, SettingError
from anycell.files import write_labels
from drawn import draw

TINY = ("--budget", 2, "--crops", 2, "--recipe", "side=64,warm_up=1", "--workers", 0)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training and two held-out groups, one of a single image, in a manifest."""
    root = tmp_path_factory.mktemp("data")
    rows = ["use,group,image,labels,modality"]
    for use, group, names, modality in (
        ("train", "made", "abc", "fluorescence"),
        ("validate", "blood", "de", "brightfield"),
        ("validate", "liver", "d", ""),
    ):
        for name in names:
            image = draw(root / group / "images" / f"{name}.png")
            (root / group / "labels").mkdir(exist_ok=True)
            labels = root / group / "labels" / f"{name}.tif"
            write_labels(disks_of(image), labels)
            paths = [path.relative_to(root).as_posix() for path in (image, labels)]
            rows.append(",".join([use, group, *paths, modality]))
    (root / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def disks_of(image: Path) -> np.ndarray[Any, Any]:
    from drawn import disks

    assert image.is_file()
    return disks()


def foreign(data: Path, out: Path, missing: str = "") -> Path:
    """The true labels as another tool's predictions, without one of them."""
    for group in ("blood", "liver"):
        (out / group).mkdir(parents=True)
        for file in (data / group / "labels").iterdir():
            if f"{group}/{file.stem}" != missing:
                shutil.copy(file, out / group / f"{file.stem}_label.tif")
    return out


def made(data: Path, out: Path, **settings: Any) -> Comparison:
    return compare(ComparePlan((data,), out, **settings))


def test_methods_are_trained_judged_and_not_trained_again(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "out"
    asked = ("compare", data, "-o", out, "--methods", "votes,watershed,classical", *TINY)
    first = run(*asked)
    assert first.exit_code == 0, first.output
    found = read_comparison(out)
    assert [v.entry.contender for v in found.results] == ["classical", "votes", "watershed"]
    assert [v.entry.seed for v in found.results] == [None, 1, 1]
    assert found.budget["steps"] == 2
    assert [(v.group, v.name, v.modality) for v in found.images] == [
        ("blood", "d", "brightfield"), ("blood", "e", "brightfield"), ("liver", "d", ""),
    ]  # fmt: skip
    classical, votes, _ = found.results
    assert classical.images[0].scores[0].values.f1 == 1.0
    assert classical.cost.parameters == 0
    assert votes.cost.parameters is not None
    assert votes.cost.parameters > 1e6
    assert votes.cost.steps == 2
    assert votes.cost.train_seconds is not None
    for result in found.results:
        assert result.cost.seconds_per_mp is not None
        assert result.cost.seconds_per_mp > 0
        assert result.cost.peak_memory is not None
        assert result.cost.peak_memory > 20e6
        assert [len(image.scores) for image in result.images] == [5, 5, 5]
    assert "classical" in first.stdout
    assert (out / "images.csv").read_text().count("\n") == 1 + 3 * 3 * 5
    kept = [*out.rglob("last.pt"), *out.rglob("*_label.tiff"), *out.rglob("model.onnx")]
    assert len(kept) == 2 + 3 * 3 + 2
    before = [path.stat().st_mtime_ns for path in kept]
    for path in out.rglob("trained.json"):  # as if made before there was this setting
        known = json.loads(path.read_text())
        assert known["job"]["recipe"].pop("reuse") == 1
        path.write_text(json.dumps(known))
    again = run(*asked)
    assert again.exit_code == 0, again.output
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert "trained already" in again.stderr
    assert [v.images for v in read_comparison(out).results] == [v.images for v in found.results]
    smaller = run(*asked, "--budget", 1)
    assert smaller.exit_code == 1
    assert "steps 2" in smaller.stderr
    for path in out.rglob("trained.json"):  # before there was a choice, it was AdamW
        known = json.loads(path.read_text())
        assert known["job"]["recipe"].pop("optimizer") == "muon"
        path.write_text(json.dumps(known))
    older = run(*asked)
    assert older.exit_code == 1
    assert "optimizer adamw" in older.stderr


def test_an_image_is_segmented_again_when_its_labels_are_gone(data: Path, tmp_path: Path) -> None:
    made(data, tmp_path, methods=("classical",))
    folder = tmp_path / "predictions" / "classical"
    gone, kept = folder / "blood" / "d_label.tiff", folder / "liver" / "d_label.tiff"
    before = kept.stat().st_mtime_ns
    gone.unlink()
    # A line that was cut off when the process was killed.
    with (folder / "segmented.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"key": "blo')
    again = made(data, tmp_path, methods=("classical",))
    assert gone.is_file()
    assert kept.stat().st_mtime_ns == before
    assert all(image.seconds for image in again.results[0].images)
    journal = (folder / "segmented.jsonl").read_text()
    assert [bool(json.loads(line)) for line in journal.splitlines()].count(True) == 7


def test_another_tool_stands_in_the_table_and_a_missing_image_is_misses(
    data: Path, tmp_path: Path
) -> None:
    whole = foreign(data, tmp_path / "whole")
    gaps = foreign(data, tmp_path / "gaps", missing="blood/e")
    out = tmp_path / "out"
    result = run(
        "compare", data, "-o", out, "--predictions", f"exact={whole}",
        "--predictions", f"gaps={gaps}", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    ranking = json.loads(result.stdout)["ranking"]
    assert [row["contender"] for row in ranking] == ["exact", "gaps"]
    assert [row["F1@0.5"] for row in ranking] == [1.0, 0.75]  # (1 + 0) / 2 and 1, over groups
    assert ranking[1]["behind"] == -0.25
    found = read_comparison(out)
    missed = found.results[1].images[1]
    assert missed.missing
    assert (missed.scores[0].tp, missed.scores[0].fn) == (0, 5)
    assert found.results[1].cost.seconds_per_mp is None
    assert found.results[0].entry == Entry("exact", "predictions", zoom="")


def test_one_that_fails_is_told_and_the_others_go_on(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.json").write_text("{}")
    wrong = foreign(data, tmp_path / "wrong")
    write_labels(np.ones((3, 3), np.int32), wrong / "liver" / "d_label.tif")
    out = tmp_path / "out"
    result = run(
        "compare", data, "-o", out, "--models", f"classical,{broken}", "--predictions",
        f"wrong={wrong}",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "format" in result.stderr
    assert "128 x 128" in result.stderr
    found = read_comparison(out)
    assert [bool(v.error) for v in found.results] == [True, False, True]
    assert [one.name for one in standings(found)] == ["classical"]


def test_zoom_schemes_are_contenders(data: Path, tmp_path: Path) -> None:
    found = made(
        data, tmp_path, models=(("tiny", "general"),), zoom_schemes=("none", "diameter", "plan")
    )
    assert [v.entry.contender for v in found.results] == [
        "tiny, no zoom", "tiny, one zoom", "tiny",
    ]  # fmt: skip
    none, one, plan = (tuple(v.zoom for v in result.images) for result in found.results)
    assert none == (1.0,) * 3
    assert len(set(one)) == 1
    # 24 px is the model's diameter, and a disk of radius 10 has 317 pixels.
    assert one[0] == pytest.approx(24 / np.sqrt(317 * 4 / np.pi), rel=0.05)
    assert len(plan) == 3
    entry = found.results[2].entry
    assert (entry.method, entry.learning, entry.simulation) == ("votes", "supervised", True)


def test_what_cannot_be_compared_says_why(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="nothing to compare"):
        made(data, tmp_path)
    with pytest.raises(SettingError, match="votez"):
        made(data, tmp_path, methods=("votez",))
    with pytest.raises(SettingError, match="two contenders"):
        made(data, tmp_path, methods=("classical",), models=(("classical", "general"),))
    with pytest.raises(SettingError, match="zoom scheme"):
        made(data, tmp_path, methods=("classical",), zoom_schemes=("plam",))
    with pytest.raises(SettingError, match="shares"):
        made(data, tmp_path, methods=("classical",), shares=(0.0,))
    with pytest.raises(SettingError, match="recipe setting"):
        made(data, tmp_path, methods=("votes",), recipe={"rates": 1})
    with pytest.raises(InputError, match="not a folder"):
        made(data, tmp_path, predictions=(("x", tmp_path / "none"),))
    (tmp_path / "images").mkdir()
    draw(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match="held-out"):
        made(tmp_path, tmp_path / "out", methods=("classical",))
    with pytest.raises(InputError, match=r"there is no .*comparison\.json"):
        read_comparison(tmp_path)
    (tmp_path / "comparison.json").write_text('{"format": 1}')
    with pytest.raises(FormatError, match="rules"):
        read_comparison(tmp_path)


def test_names_of_contenders() -> None:
    assert short_name("general") == "general"
    assert short_name("runs/a/best") == "a"
    entry = Entry("votes", "method", "votes", 2, 0.05, "parity", False, "none")
    assert entry.contender == "votes, parity, 5 % of labels, no zoom"
    assert entry.slug == "votes-parity-5-of-labels-no-zoom-seed-2"
    assert Entry("parity", "method", "parity", 1, learning="parity").contender == "parity"


def brute(
    scores: np.ndarray[Any, Any], groups: list[str], random: np.random.Generator
) -> np.ndarray[Any, Any]:
    """One draw of the bootstrap, image by image."""
    means = []
    for kind in sorted(set(groups)):
        own = [k for k, group in enumerate(groups) if group == kind]
        drawn = random.choice(own, len(own))
        means.append(np.mean([scores[k] for k in drawn], axis=0))
    return np.asarray(np.mean(means, axis=0))


def test_the_bootstrap_is_that_of_a_slow_reference() -> None:
    random = np.random.default_rng(1)
    groups = ["a"] * 9 + ["b"] * 3 + ["c"]
    scores = random.uniform(0, 1, (13, 2))
    scores[:, 1] = 0.8 * scores[:, 0] + 0.1 * scores[:, 1]
    fast = resample_means(scores, groups, resamples=20_000, seed=3)
    slow = np.array([brute(scores, groups, random) for _ in range(4000)])
    wanted = np.mean([scores[:9].mean(axis=0), scores[9:12].mean(axis=0), scores[12]], axis=0)
    assert np.allclose(fast.values, wanted)
    for q in (0.025, 0.25, 0.5, 0.975):
        assert np.quantile(fast.draws, q, axis=0) == pytest.approx(
            np.quantile(slow, q, axis=0), abs=0.012
        )
    # Paired: the difference spreads much less than two independent values would.
    spread = (fast.draws[:, 0] - fast.draws[:, 1]).std()
    assert spread == pytest.approx((slow[:, 0] - slow[:, 1]).std(), rel=0.06)
    assert spread < 0.7 * np.hypot(*fast.draws.std(axis=0))
    again = resample_means(scores, groups, resamples=20_000, seed=3)
    assert np.array_equal(fast.draws, again.draws)
    difference = fast.difference(0, 1)
    assert difference.value == pytest.approx(wanted[0] - wanted[1])
    assert difference.low < difference.value < difference.high


def test_the_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    groups = ["a"] * 40 + ["b"] * 25
    held = 0
    for k in range(1500):
        scores = np.concatenate([random.beta(6, 2, (40, 1)), random.beta(2, 2, (25, 1))])
        interval = resample_means(scores, groups, resamples=300, seed=k).interval(0)
        held += interval.low <= (0.75 + 0.5) / 2 <= interval.high
    assert 0.91 < held / 1500 < 0.97


def test_the_bootstrap_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="groups of 1"):
        resample_means(np.zeros((2, 1)), ["a"])


def test_a_worker_stops_and_may_save_when_its_parent_is_gone(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    worker = (
        "import os, pathlib, time\n"
        "from anycell.compare.worker import stop_with\n"
        "try:\n    stop_with(int(os.environ['PARENT']))\n    time.sleep(100)\n"
        f"except KeyboardInterrupt:\n    pathlib.Path({str(saved)!r}).write_text('saved')\n"
    )
    parent = (
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', sys.argv[1]],"
        " env={**os.environ, 'PARENT': str(os.getpid())})\n"
    )
    subprocess.run([sys.executable, "-c", parent, worker], check=True, timeout=60)
    until = time.monotonic() + 60
    while not saved.is_file() and time.monotonic() < until:
        time.sleep(0.1)
    assert saved.read_text() == "saved"
