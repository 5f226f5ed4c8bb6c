"""The challenge's data from a server to a folder that train and evaluate read."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from anycell.cli import app
from anycell.datasets import plan, prepare, read_record
from anycell.datasets.listing import COLUMNS
from anycell.datasets.unpack import check_room
from anycell.errors import FormatError, InputError, OutputError
from anycell.evaluate import evaluate
from anycell.samples import find_samples
from drawn import disks
from packed import archive, archives, image, labels
from server import Server, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(Server(archives())) as running:
        yield running


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


EVERYTHING = "labeled,tuning,testing,unlabeled,slides"


@pytest.fixture(scope="module")
def everything(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "neurips"
    result = run("neurips2022", out, "--parts", EVERYTHING, "--yes", "--url", server.address)
    assert result.exit_code == 0, result.output
    assert "CC BY-NC-ND 4.0" in result.stderr
    assert result.stderr.index("CC BY-NC-ND") < result.stderr.index("Training-labeled.zip: ")
    assert "10 images (1 hidden, 2 test, 4 train, 2 unlabeled, 1 validate)" in result.stdout
    assert "left out: unlabeled/images/unlabeled_cell_00504.png" in result.stderr
    return out


def test_all_parts_are_laid_out(everything: Path) -> None:
    found = [(row["use"], row["image"], row["cells"]) for row in rows(everything)]
    assert found == [
        ("train", "labeled/cells_0001_0100/images/cell_00001.bmp", "5"),
        ("train", "labeled/cells_0001_0100/images/cell_00100.png", "5"),
        ("train", "labeled/cells_0101_0200/images/cell_00101.png", "5"),
        ("train", "labeled/cells_0901_1000/images/cell_01000.tiff", "5"),
        ("validate", "tuning/images/cell_00001.png", "5"),
        ("hidden", "testing/hidden/images/TestHidden_001.png", ""),
        ("test", "testing/public/images/OpenTest_001.png", "5"),
        ("test", "testing/public_wsi/images/slide_1.png", "5"),
        ("unlabeled", "unlabeled/images/unlabeled_cell_00000.png", ""),
        ("unlabeled", "slides/images/whole_slide_00001.tiff", ""),
    ]
    assert tuple(rows(everything)[0]) == COLUMNS
    with (everything / "left_out.csv").open(newline="") as file:
        ((path, reason),) = list(csv.reader(file))[1:]
    assert path == "unlabeled/images/unlabeled_cell_00504.png"
    assert "cannot be read" in reason
    made = json.loads((everything / "run.json").read_text())
    assert "CC BY-NC-ND" in made["settings"]["license"]
    assert not list(everything.rglob("*.part"))


def test_train_reads_it_and_never_the_test_set(everything: Path) -> None:
    samples = find_samples(everything)
    uses = {(sample.use, sample.group) for sample in samples}
    assert uses == {
        ("train", "labeled/cells_0001_0100"),
        ("train", "labeled/cells_0101_0200"),
        ("train", "labeled/cells_0901_1000"),
        ("validate", "tuning"),
        ("unlabeled", "unlabeled"),
        ("unlabeled", "slides"),
    }
    assert all((sample.labels is None) == (sample.use == "unlabeled") for sample in samples)
    assert not any(sample.partial for sample in samples)


def test_segment_and_evaluate_meet_in_it(everything: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    command = ["segment", str(everything / "testing"), "-o", str(tmp_path / "testing"), "-q"]
    assert runner.invoke(app, [*command, "--model", "classical"]).exit_code == 0
    by_manifest = evaluate(tmp_path, everything / "manifest.csv", use="test")
    assert by_manifest.missing == ()
    assert [v.scores[0].tp for v in by_manifest.images] == [5, 5]
    by_folder = evaluate(tmp_path / "testing", everything / "testing")
    assert [v.group for v in by_folder.images] == ["public", "public_wsi"]


def test_a_second_run_fetches_and_unpacks_nothing(
    everything: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(server.asked)
    monkeypatch.setattr("anycell.datasets.neurips2022.unpack", None)
    monkeypatch.setattr("anycell.datasets.listing.read_labels", None)
    result = run("neurips2022", everything, "--parts", EVERYTHING, "--url", server.address)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("unpacked before") == 5
    assert len(server.asked) == before
    assert len(rows(everything)) == 10


def test_parts_come_one_after_the_other_without_their_archives(
    server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    common = ["neurips2022", out, "--yes", "--url", server.address, "--json", "--parts"]
    assert json.loads(run(*common, "tuning").stdout)["images"] == {"validate": 1}
    for path in (out / "archives").iterdir():
        path.unlink()
    said = json.loads(run(*common, "tuning, slides").stdout)
    assert said["images"] == {"validate": 1, "unlabeled": 1}
    assert said["cells"] == 5
    assert [v.name for v in (out / "archives").iterdir()] == ["train-unlabeled-part2.zip"]


def test_without_anybody_to_ask_nothing_is_fetched(server: Server, tmp_path: Path) -> None:
    before = len(server.asked)
    result = run("neurips2022", tmp_path / "out", "--url", server.address)
    assert result.exit_code == 2
    assert "try: --yes" in result.stderr
    assert "CC BY-NC-ND" in result.stderr
    assert f"{len(server.files['Tuning.zip']):,} bytes" in result.stderr
    assert not (tmp_path / "out").exists()
    assert len(server.asked) == before


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_a_person_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("anycell.cli.data._somebody_there", lambda: True)
    out = tmp_path / "out"
    arguments = ["data", "neurips2022", str(out), "--parts", "tuning", "--url", server.address]
    result = CliRunner().invoke(app, arguments, input=answer)
    assert result.exit_code == code, result.output
    assert (out / "manifest.csv").exists() == (code == 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["neurips2023", "OUT"], "try: neurips2022"),
        (["neurips2022", "OUT", "--parts", "labelled"], "try: labeled"),
        (["neurips2022", "OUT", "--offline"], "Training-labeled.zip is not there"),
    ],
)
def test_mistakes_exit_with_2(
    server: Server, tmp_path: Path, arguments: list[str], words: str
) -> None:
    told = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    result = run(*told, "--yes", "--url", server.address)
    assert result.exit_code == 2
    assert words in result.stderr


def test_offline_takes_archives_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "Tuning.zip").write_bytes(archives()["Tuning.zip"])
    result = run("neurips2022", tmp_path, "--offline", "--parts", "tuning")
    assert result.exit_code == 0, result.output
    assert [row["image"] for row in rows(tmp_path)] == ["tuning/images/cell_00001.png"]


def test_a_record_without_the_archive_says_what_it_has(tmp_path: Path) -> None:
    with serving(Server({"other.zip": b"x"})) as other:
        record = read_record(other.address, 10719375)
    with pytest.raises(InputError, match=r"no Tuning\.zip, but other\.zip"):
        plan(tmp_path, ["tuning"], record)


def test_a_disk_too_small_is_noticed_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("anycell.datasets.unpack.shutil.disk_usage", lambda _: Usage)
    before = len(server.asked)
    planned = plan(tmp_path / "out", ["labeled"], read_record(server.address, 10719375))
    with pytest.raises(OutputError, match=r"needs .* GB, and .* has 0\.0 GB free"):
        prepare(planned)
    assert len(server.asked) == before
    check_room(tmp_path / "not" / "yet", 1000, "this")


def test_what_train_cannot_use_is_left_out_with_a_reason(tmp_path: Path) -> None:
    many = io.BytesIO()
    tifffile.imwrite(many, np.zeros((5, 9, 9), np.uint8), photometric="minisblack", metadata=None)
    named = io.BytesIO()
    tifffile.imwrite(named, np.zeros((5, 9, 9), np.uint8), metadata={"axes": "CYX"}, ome=True)
    (tmp_path / "archives").mkdir()
    members: dict[str, Any] = {}
    for name, data, truth in (
        ("fine.png", image(), labels()),
        ("axes.tif", many.getvalue(), labels()),
        ("five.tif", named.getvalue(), labels()),
        ("size.png", image(), labels(100)),
        ("torn.png", image(), labels()[:50]),
    ):
        members[f"images/{name}"] = data
        members[f"labels/{name.split('.')[0]}_label.tiff"] = truth
    (tmp_path / "archives" / "Tuning.zip").write_bytes(archive(members))
    found = prepare(plan(tmp_path, ["tuning"], None))
    assert [row["image"] for row in found.rows] == ["tuning/images/fine.png"]
    reasons = {Path(path).name: reason for path, reason in found.left_out}
    assert set(reasons) == {"axes.tif", "five.tif", "size.png", "torn.png"}
    assert "5 channels" in reasons["five.tif"]
    assert "100 x 128 pixels, its image 128 x 128" in reasons["size.png"]


def test_changed_labels_are_counted_anew(tmp_path: Path) -> None:
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "Tuning.zip").write_bytes(archives()["Tuning.zip"])
    planned = plan(tmp_path, ["tuning"], None)
    assert prepare(planned).cells == 5
    path = tmp_path / "tuning" / "labels" / "cell_00001_label.tiff"
    tifffile.imwrite(path, np.where(disks() == 3, 0, disks()).astype(np.int16))
    later = (tmp_path / "manifest.csv").stat().st_mtime + 5
    os.utime(path, (later, later))
    again = plan(tmp_path, ["tuning"], None)
    assert again.steps[0].done
    assert prepare(again).cells == 4


def test_notes_that_are_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "unpacked.json").write_text("[")
    with pytest.raises(FormatError, match=r"unpacked\.json is damaged"):
        plan(tmp_path, ["tuning"], None)


def test_it_needs_only_the_standard_library_to_download() -> None:
    code = (
        "import sys, anycell.datasets.fetch, anycell.datasets.unpack\n"
        "heavy = {'requests', 'httpx', 'urllib3', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
