"""The container of the NeurIPS 2022 challenge: its entry point, started as they start it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture

from anycell.challenge import find_inputs, open_settled, predict, ranked_seconds
from anycell.errors import FormatError, InputError, OutputError
from anycell.files import read_labels
from anycell.model import load_model
from drawn import disks, draw

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="containers run Linux")


def start(repository: Path, *arguments: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run predict.sh by sh, from another folder, with no home and warnings as errors."""
    source = os.pathsep.join([str(repository / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        ["sh", str(repository / "container" / "predict.sh"), *map(str, arguments)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHON": sys.executable,
            "PYTHONPATH": source.rstrip(os.pathsep),
            "PYTHONWARNINGS": "error",
            "HOME": "/nonexistent",
            **settings,
        },
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def picture(channels: int | None, kind: type[np.generic]) -> NDArray[Any]:
    """Bright disks, rows x columns or rows x columns x channels, of a type."""
    noise = np.random.default_rng(0).normal(0, 0.015, (128, 128))
    grey = np.clip(np.where(disks() > 0, 0.7, 0.12) + noise, 0, 1)
    scaled = (grey * np.iinfo(kind).max).astype(kind) if kind is not np.float32 else grey
    pixels = scaled.astype(kind)
    if channels is None:
        return pixels
    planes = np.repeat(pixels[:, :, None], channels, axis=2)
    if channels == 4:
        planes[:, :, 3] = np.iinfo(kind).max
    return planes


def test_every_kind_of_file_gives_labels_named_up_to_the_first_dot(
    repository: Path, tmp_path: Path
) -> None:
    inputs, outputs = tmp_path / "inputs", tmp_path / "new" / "outputs"
    inputs.mkdir()
    for name, channels in (("grey.png", None), ("rgb.v2.png", 3), ("rgba.png", 4), ("b.bmp", 3)):
        Picture.fromarray(picture(channels, np.uint8)).save(inputs / name)
    Picture.fromarray(picture(3, np.uint8)).save(inputs / "photo.JPG", quality=95)
    Picture.fromarray(picture(None, np.uint8)).save(inputs / "g.bmp")
    tifffile.imwrite(inputs / "deep.tif", picture(None, np.uint16))
    tifffile.imwrite(inputs / "deep_rgb.tiff", picture(3, np.uint16), photometric="rgb")
    tifffile.imwrite(inputs / "float.tif", picture(None, np.float32))
    five = np.moveaxis(picture(5, np.uint16), -1, 0)
    tifffile.imwrite(inputs / "five.ome.tif", five, metadata={"axes": "CYX"})
    tifffile.imwrite(inputs / "silent.tif", five[:2], photometric="minisblack", metadata=None)
    (inputs / ".DS_Store").write_bytes(b"not an image")
    done = start(repository, inputs, outputs)
    assert done.returncode == 0, done.stderr
    names = {
        "grey", "rgb", "rgba", "b", "photo", "g", "deep", "deep_rgb", "float", "five", "silent",
    }  # fmt: skip
    assert {v.name for v in outputs.iterdir()} == {f"{name}_label.tiff" for name in names}
    for name in names:
        stored = tifffile.imread(outputs / f"{name}_label.tiff")
        assert (stored.shape, stored.dtype) == ((128, 128), np.uint16), name
        found = read_labels(outputs / f"{name}_label.tiff")
        assert set(np.unique(found)) == set(range(int(found.max()) + 1)), name
    assert "the first 3 of its 5 channels are used" in done.stderr
    assert "its axes are taken as CYX" in done.stderr
    assert done.stderr.count(" cells in ") == len(names)


def test_a_damaged_file_costs_only_itself(repository: Path, tmp_path: Path) -> None:
    inputs, outputs = tmp_path / "inputs", tmp_path / "outputs"
    whole = draw(inputs / "a.png").read_bytes()
    draw(inputs / "z.png")
    (inputs / "cut.png").write_bytes(whole[: len(whole) // 2])
    (inputs / "text.tif").write_text("no image")
    done = start(repository, inputs, outputs)
    assert done.returncode == 1
    assert {v.name for v in outputs.iterdir()} == {"a_label.tiff", "z_label.tiff"}
    assert re.search(r"cut\.png: failed\n    .*cut\.png cannot be read", done.stderr)
    assert re.search(r"text\.tif: failed\n    .*is not an image", done.stderr)
    assert "2 of 4 files failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_image_gives_what_it_gives_among_others(repository: Path, tmp_path: Path) -> None:
    """The challenge starts a container per image; settings may come from the environment."""
    draw(tmp_path / "all" / "a.png")
    draw(tmp_path / "all" / "b.png", np.roll(disks(12), 7, axis=1))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "all" / f"{name}.png", tmp_path / name)
    assert start(repository, tmp_path / "all", tmp_path / "out").returncode == 0
    for name in ("a", "b"):
        places = {
            "ANYCELL_INPUTS": str(tmp_path / name),
            "ANYCELL_OUTPUTS": str(tmp_path / f"out_{name}"),
        }
        assert start(repository, **places).returncode == 0
        alone = read_labels(tmp_path / f"out_{name}" / f"{name}_label.tiff")
        np.testing.assert_array_equal(alone, read_labels(tmp_path / "out" / f"{name}_label.tiff"))


def test_what_cannot_begin_exits_with_2(repository: Path, tmp_path: Path) -> None:
    for inputs, words in ((tmp_path / "gone", "not a folder"), (tmp_path / "empty", "is empty")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        done = start(repository, inputs, tmp_path / "out")
        assert done.returncode == 2
        assert words in done.stderr
    draw(tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("in the way")
    done = start(repository, tmp_path / "in", tmp_path / "file")
    assert done.returncode == 2
    assert "cannot be made" in done.stderr


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_the_script_keeps_to_plain_shell(repository: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = repository / "container" / "predict.sh"
    assert subprocess.run([shell, "-n", str(script)], check=False).returncode == 0
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "/workspace/inputs}" in text
    assert "/workspace/outputs}" in text
    assert os.access(script, os.X_OK)


def test_the_image_needs_only_files_that_reach_it(repository: Path) -> None:
    docker = (repository / "container" / "Dockerfile").read_text(encoding="utf-8")
    let_in = (repository / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in re.findall(r"^COPY (.+)$", docker, re.MULTILINE):
        for name in line.split()[:-1]:
            assert (repository / name).exists()
            assert f"!{name.partition('/')[0]}" in let_in
    assert docker.startswith("#")
    assert "FROM python:3.11-slim" in docker
    assert "[train]" not in docker


def test_inputs_that_share_a_name_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "a.v2.png")
    with pytest.raises(InputError, match=r"a\.png and a\.v2\.png would both give a_label\.tiff"):
        find_inputs(tmp_path)


@pytest.mark.parametrize(
    ("shape", "axes", "channels"),
    [
        ((2, 40, 50), "CYX", 2),
        ((7, 40, 50), "CYX", 3),
        ((40, 50, 2), "YXC", 2),
        ((40, 6, 50), "YCX", 3),
        ((40, 40, 40), "YXC", 3),
    ],
)
def test_axes_that_nobody_explains_are_settled(
    tmp_path: Path, shape: tuple[int, ...], axes: str, channels: int
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", metadata=None)
    image, notes = open_settled(tmp_path / "a.tif")
    moved = np.moveaxis(pixels, axes.index("C"), 0)[:channels]
    whole = image.levels[0].read
    from anycell.image import Region

    np.testing.assert_array_equal(whole(Region(0, 0, *moved.shape[1:])), moved)
    assert notes[0] == f"its axes are taken as {axes}"


def test_an_image_that_explains_itself_needs_no_note(tmp_path: Path) -> None:
    Picture.fromarray(picture(4, np.uint8)).save(tmp_path / "rgba.png")
    image, notes = open_settled(tmp_path / "rgba.png")
    assert image.channels == ("R", "G", "B")
    assert notes == ()


def test_failures_are_told_and_a_full_disk_is_not_a_failure_of_the_image(tmp_path: Path) -> None:
    model = load_model("classical")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = predict(tmp_path / "bad.png", tmp_path, model)
    assert isinstance(found.error, FormatError)
    assert found.cells is None
    with pytest.raises(OutputError):
        predict(draw(tmp_path / "a.png"), tmp_path / "gone", model)


def test_time_is_ranked_as_the_organisers_do() -> None:
    assert ranked_seconds(9.9, 250_000) == 0.0
    assert ranked_seconds(12.5, 1_000_000) == 2.5
    assert ranked_seconds(12.5, 10) == 2.5
    assert ranked_seconds(12.5, 1_250_000) == 0.0
    assert ranked_seconds(1004.0, 10_000 * 10_000) == 4.0
