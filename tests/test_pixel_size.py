"""Diameters in micrometres: the pixel size of the file, or the one typed, makes them zooms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from anycell.cli import app
from anycell.cli.settings import diameters
from anycell.errors import InputError, SettingError
from anycell.files import open_image, read_labels
from anycell.folders import FileResult, FolderSettings, segment_files
from anycell.image import Region
from anycell.segment import segment
from anycell.tasks import find_tasks
from drawn import draw
from test_scale import Seer, disks, lattice

SIDE = 320


def ome(path: Path, diameter: int, size: float | None, levels: int = 1) -> Path:
    """Cells of a diameter in an OME-TIFF whose pixels are so many micrometres."""
    path.parent.mkdir(exist_ok=True)
    image = disks((SIDE, SIDE), diameter, lattice(diameter, SIDE))
    pixels = image.read(Region(0, 0, SIDE, SIDE))[0]
    about = {} if size is None else {f"PhysicalSize{v}": size for v in "XY"}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(pixels, subifds=levels - 1, metadata={"axes": "YX", **about})
        for level in range(1, levels):
            file.write(pixels[:: 2**level, :: 2**level], subfiletype=1)
    return path


def segmented(path: Path, settings: FolderSettings) -> FileResult:
    out = path.parent / "out"
    (result,) = segment_files(find_tasks([path], out), out, Seer(), settings)
    return result


@pytest.mark.parametrize(("size", "diameter"), [(0.5, 24), (0.25, 48), (1.0, 12)])
def test_the_pixel_size_of_the_file_makes_micrometres_pixels(
    tmp_path: Path, size: float, diameter: int
) -> None:
    path = ome(tmp_path / "a.ome.tif", diameter, size)
    result = segmented(path, FolderSettings(diameter_um=12.0))
    assert (result.zoom, result.plan) == (24 / diameter, None)
    given = segment(open_image(path), Seer(), zoom=24 / diameter)
    assert np.array_equal(read_labels(result.labels), given.labels)
    assert result.cells == len(lattice(diameter, SIDE))


def test_a_pixel_size_that_is_typed_wins_over_the_file(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", 48, 0.5)
    asked = FolderSettings(diameter_um=12.0, pixel_size=0.25, exports=("csv",))
    result = segmented(path, asked)
    assert result.zoom == 0.5
    with (tmp_path / "out" / "a_cells.csv").open() as file:
        cells = list(csv.DictReader(file))
    for cell in cells:
        assert float(cell["diameter_um"]) == pytest.approx(float(cell["diameter_px"]) / 4, rel=1e-3)
    noted = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert (noted["diameter"], noted["diameter_um"], noted["pixel_size"]) == (None, 12.0, 0.25)


def test_slides_take_the_same_zoom_and_keep_the_pixel_size(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", 48, None)
    asked = FolderSettings(diameter_um=12.0, pixel_size=0.25, format="ome-zarr")
    result = segmented(path, asked)
    assert result.zoom == 0.5
    assert open_image(result.labels).pixel_size == 0.25


def test_a_coarser_level_has_larger_pixels(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", 48, 0.25, levels=2)
    assert segmented(path, FolderSettings(diameter_um=12.0)).zoom == 0.5
    assert segmented(path, FolderSettings(diameter_um=12.0, level=1)).zoom == 1.0


def test_a_file_that_does_not_say_fails_and_the_others_go_on(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "a.png")
    ome(tmp_path / "in" / "b.ome.tif", 24, 0.5)
    tasks = find_tasks([tmp_path / "in"], tmp_path / "out")
    results = segment_files(tasks, tmp_path / "out", Seer(), FolderSettings(diameter_um=12.0))
    assert [result.status for result in results] == ["failed", "done"]
    error = results[0].error
    assert isinstance(error, InputError)
    assert error.found == "a does not say how large its pixels are"
    assert "--pixel-size" in error.hint


def test_a_pixel_size_alone_decides_nothing(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif", 24, None)
    plain, sized = (segmented(path, FolderSettings(pixel_size=v)) for v in (None, 0.1))
    assert plain.plan is not None
    assert (plain.zoom, plain.plan, plain.cells) == (sized.zoom, sized.plan, sized.cells)


@pytest.mark.parametrize(
    "settings",
    [
        {"diameter": 24.0, "diameter_um": 12.0},
        {"zoom": 1.0, "diameter_um": 12.0},
        {"diameter_um": -1.0},
        {"pixel_size": 0.0},
        {"pixel_size": float("inf")},
    ],
)
def test_sizes_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        FolderSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (None, None)),
        ("90", (90.0, None)),
        ("90.5px", (90.5, None)),
        ("90 px", (90.0, None)),
        ("12um", (None, 12.0)),
        ("1.25 \u00b5m", (None, 1.25)),
        ("12\u03bcm", (None, 12.0)),
        ("-3", (-3.0, None)),
    ],
)
def test_diameters_come_in_pixels_or_micrometres(
    text: str | None, expected: tuple[float | None, float | None]
) -> None:
    assert diameters(text) == expected


@pytest.mark.parametrize("text", ["", "um", "12mm", "12nm", "12 x", "px12", "1 2um", "12upx"])
def test_other_diameters_are_errors(text: str) -> None:
    with pytest.raises(SettingError, match="diameter"):
        diameters(text)


def test_the_command_line_takes_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycell.predictor.Classic.diameter", 24.0)
    path = ome(tmp_path / "a.ome.tif", 48, 0.5)
    words = ["segment", str(path), "-o", str(tmp_path / "out"), "--model", "classical", "--json"]
    found = {}
    for size in ([], ["--pixel-size", "0.25"]):
        result = CliRunner().invoke(app, [*words, "--diameter", "12um", *size])
        assert result.exit_code == 0, result.output
        found[len(size)] = json.loads(result.stdout)["files"][0]["zoom"]
    assert found == {0: 1.0, 2: 0.5}
