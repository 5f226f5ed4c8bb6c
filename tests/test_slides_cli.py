"""Slides on the command line: formats, regions, levels, breaks, shards and seams."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from anycell.cli import app
from anycell.cli.screen import FileProgress
from anycell.files import open_image, read_labels
from anycell.folders import SLIDE_PIXELS
from anycell.image import Region
from anycell.labels import Labels
from anycell.model import load_model
from anycell.road import Asked, prepare
from anycell.segment import segment
from anycell.slides import Going, Target, write_slide
from drawn import disks

SIDE = 1408


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field of disks as a tiled TIFF of two levels; four tiles at a zoom of 1."""
    pixels = np.where(np.tile(disks(), (11, 11)) > 0, 180.0, 30.0)
    pixels += np.random.default_rng(0).normal(0, 4, pixels.shape)
    stored = np.clip(pixels, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("field") / "field.tiff"
    with tifffile.TiffWriter(path) as file:
        file.write(stored, subifds=1, tile=(256, 256), compression="zlib", photometric="minisblack")
        small = stored.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3)).astype(np.uint8)
        file.write(small, subfiletype=1, tile=(256, 256), photometric="minisblack")
    return path


@pytest.fixture(scope="module")
def wanted(field: Path) -> Labels:
    return segment(open_image(field), load_model("classical")).labels


def run(*arguments: object) -> Result:
    words = ["segment", "--model", "classical", *arguments]
    return CliRunner().invoke(app, [str(word) for word in words])


def entry(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())["results"][0]
    return found


@pytest.mark.parametrize(("name", "ending"), [("tiff", ".tiff"), ("ome-zarr", ".zarr")])
def test_formats(tmp_path: Path, field: Path, wanted: Labels, name: str, ending: str) -> None:
    result = run(field, "-o", tmp_path, "--format", name, "--overlay")
    assert result.exit_code == 0, result.output
    assert np.array_equal(read_labels(tmp_path / f"field_label{ending}"), wanted)
    assert open_image(tmp_path / "field_overlay.png").shape == (3, SIDE, SIDE)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"field_label{ending}", "field_overlay.png", "run.json",
    ]  # fmt: skip
    assert entry(tmp_path)["cells"] == wanted.max() == 605
    assert run(field, "-o", tmp_path, "--format", "png").exit_code == 2
    again = run(field, "-o", tmp_path, "--format", name, "--resume")
    assert "1 skipped" in again.stdout


def test_large_images_are_slides_unasked(
    tmp_path: Path, field: Path, wanted: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SLIDE_PIXELS == 25_000_000
    monkeypatch.setattr("anycell.folders.SLIDE_PIXELS", SIDE * SIDE - 1)
    assert run(field, "-o", tmp_path).exit_code == 0
    with tifffile.TiffFile(tmp_path / "field_label.tiff") as file:
        assert file.is_bigtiff
    assert np.array_equal(read_labels(tmp_path / "field_label.tiff"), wanted)


def test_region_and_level(tmp_path: Path, field: Path) -> None:
    asked = ("--region", "100,60,500,700", "--level", 1)
    assert run(field, "-o", tmp_path, *asked).exit_code == 0
    part = open_image(field, level=1).crop(Region(100, 60, 500, 700))
    found = read_labels(tmp_path / "field_label.tiff")
    assert found.shape == (400, 640)
    assert np.array_equal(found, segment(part, load_model("classical")).labels)
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert settings["level"] == 1
    assert settings["region"] == {"y0": 100, "x0": 60, "y1": 500, "x1": 700}


@pytest.mark.parametrize("text", ["1,2,3", "5,5,5,9", "a,0,9,9", "-1,0,9,9", "0,0,9,9,9"])
def test_what_is_no_region_is_refused(tmp_path: Path, field: Path, text: str) -> None:
    result = run(field, "-o", tmp_path, f"--region={text}")
    assert result.exit_code == 2
    assert "y0,x0,y1,x1" in result.stderr


def test_a_region_outside_the_image_fails_that_image(tmp_path: Path, field: Path) -> None:
    result = run(field, "-o", tmp_path, "--region", f"0,0,{SIDE + 1},9")
    assert result.exit_code == 1
    assert "inside the image" in result.stderr


def test_shards_and_merge(tmp_path: Path, field: Path, wanted: Labels) -> None:
    for shard in ("2/2", "1/2"):
        result = run(field, "-o", tmp_path, "--shard", shard)
        assert result.exit_code == 0, result.output
        assert f"shard {shard} of 1 image done" in result.stdout
        assert f"anycell merge {tmp_path}" in result.stdout
    assert (tmp_path / "run-1-of-2.json").exists()
    merged = CliRunner().invoke(app, ["merge", str(tmp_path)])
    assert merged.exit_code == 0, merged.output
    assert "605 cells in 1 image" in merged.stdout
    assert "field_label.parts" in merged.stderr, "which image it is"
    assert np.array_equal(read_labels(tmp_path / "field_label.tiff"), wanted)
    assert CliRunner().invoke(app, ["merge", str(tmp_path)]).exit_code == 2


def test_a_break_by_the_user_says_how_to_go_on(
    tmp_path: Path, field: Path, wanted: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tile(self: FileProgress, task: object, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FileProgress, "tile", tile)
        result = run(field, "-o", tmp_path, "--format", "tiff")
    assert result.exit_code == 130
    assert "--resume" in result.stderr
    refused = run(field, "-o", tmp_path, "--format", "tiff")
    assert refused.exit_code == 2
    assert "--restart" in refused.stderr
    changed = run(field, "-o", tmp_path, "--format", "tiff", "--resume", "--zoom", "0.5")
    assert changed.exit_code == 2
    assert "zoom: 1.0, now 0.5" in changed.stderr
    assert run(field, "-o", tmp_path, "--format", "tiff", "--resume").exit_code == 0
    assert np.array_equal(read_labels(tmp_path / "field_label.tiff"), wanted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["field_label.tiff", "run.json"]


SCRIPT = """
import sys
from pathlib import Path
from anycell.files import open_image
from anycell.model import load_model
from anycell.road import Asked, prepare
from anycell.slides import Target, write_slide
road = prepare(open_image(sys.argv[1]), load_model("classical"), Asked(core=150))
write_slide(road, Target(Path(sys.argv[2])), None, lambda k, n: print(k, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("tiles", [1, 30, 81])
def test_killed_at_any_moment_a_run_goes_on(tmp_path: Path, field: Path, tiles: int) -> None:
    target = Target(tmp_path / "x_label.tiff")
    words = [sys.executable, "-c", SCRIPT, str(field), str(target.path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == tiles:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    model = load_model("classical")
    road = prepare(open_image(field), model, Asked(core=150))
    assert len(road.tiles) == 81
    written = write_slide(road, target, Going(resume=True))
    assert written.computed <= 81 - tiles
    found = segment(open_image(field), model, core=150)
    assert np.array_equal(read_labels(target.path), found.labels)
    assert [p.name for p in tmp_path.iterdir()] == ["x_label.tiff"]


def test_seams_are_checked(tmp_path: Path, field: Path) -> None:
    result = run(field, "-o", tmp_path, "--check-seams", "--json")
    assert result.exit_code == 0, result.output
    (scores,) = json.loads(result.stdout)["seams"].values()
    assert scores["tiles"] == 4
    assert scores["cells"] == 605
    assert scores["whole"] is True
    assert [iou for iou, _ in scores["agreement"]] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert all(f1 == 1.0 for _, f1 in scores["agreement"] + scores["shift"])
    shown = run(field, "-o", tmp_path, "--check-seams")
    assert "F1 of tiled against untiled: 1.0000 @0.5" in shown.stdout
    assert "every number one connected piece: yes" in shown.stdout


BROKEN_OFF = """
import signal, sys
from anycell.cli import main
from anycell.cli.screen import FileProgress

def tile(self, task, done, total):
    if done == 2:
        print(done, flush=True)
        sys.stdin.readline()

signal.signal(signal.SIGINT, signal.default_int_handler)
FileProgress.tile = tile
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_control_c_stops_a_run_that_can_go_on(tmp_path: Path, field: Path, wanted: Labels) -> None:
    asked = [str(field), "-o", str(tmp_path), "--format", "tiff", "--model", "classical"]
    with subprocess.Popen(
        [sys.executable, "-c", BROKEN_OFF, "segment", *asked],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "2\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert f"anycell segment {shlex.join(asked)} --resume" in told
    assert run(field, "-o", tmp_path, "--format", "tiff", "--resume").exit_code == 0
    assert np.array_equal(read_labels(tmp_path / "field_label.tiff"), wanted)
