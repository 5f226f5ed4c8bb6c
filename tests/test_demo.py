"""The demo: its page stands alone, its files agree with it, its scores are right."""

from __future__ import annotations

import base64
import json
import math
import re
import socket
from dataclasses import dataclass
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from anycell import demo as demo_module
from anycell.demo import SEEDS, DemoResult, demo
from anycell.errors import OutputError
from anycell.files import open_image, read_labels
from anycell.predictor import Classic
from anycell.representations import LOGIT
from anycell.scores import score_pair
from anycell.simulate import HELD_OUT, MODALITIES, simulate


@dataclass(frozen=True)
class Blind(Classic):
    """A predictor that sees nothing."""

    name = "blind"

    def look(self, overview: NDArray[np.float32]) -> Blind:
        return self

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        return np.full((len(tiles), 1, *tiles.shape[2:]), -LOGIT, dtype=np.float32)


class Page(HTMLParser):
    """What a page refers to, and its text by article."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: dict[str, list[str]] = {}
        self.texts: dict[str, str] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "article":
            self.inside = found["id"] or ""
        if tag == "img":
            self.pictures.setdefault(self.inside, []).append(found["src"] or "")
        elif "src" in found or "href" in found:
            self.links.append(found.get("href") or found.get("src") or "")

    def handle_data(self, data: str) -> None:
        self.texts[self.inside] = self.texts.get(self.inside, "") + data + " "


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, list[tuple[int, int, str]]]:
    calls: list[tuple[int, int, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse)
        out = tmp_path_factory.mktemp("demo") / "new" / "out"
        result = demo(out, Classic(), lambda *call: calls.append(call))
    return result, calls


def _refuse(*_: object) -> None:
    raise AssertionError("the demo went to the network")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only two small simulated images, so that more runs stay quick."""
    monkeypatch.setattr(demo_module, "_real", list)
    monkeypatch.setattr(demo_module, "SEEDS", {"nuclei": 1, "tissue": 3})
    monkeypatch.setattr(demo_module, "SIDE", 96)


def test_every_modality_and_two_real_images_are_there(
    made: tuple[DemoResult, list[tuple[int, int, str]]],
) -> None:
    result, calls = made
    names = [row.name for row in result.rows]
    assert names == ["immunohistochemistry", "cell", *MODALITIES]
    assert [call[0] for call in calls] == list(range(1, len(names) + 1))
    assert [call[2] for call in calls] == names
    assert {call[1] for call in calls} == {len(names)}
    assert all(seed < HELD_OUT for seed in SEEDS.values())


def test_the_page_stands_alone(made: tuple[DemoResult, list[tuple[int, int, str]]]) -> None:
    result, _ = made
    text = result.page.read_text(encoding="utf-8")
    page = Page(text)
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"base64,[^\"]*", "", text))
    assert not re.search(r"url\(|@import", re.sub(r"base64,[^\"]*", "", text))
    assert "$" not in re.sub(r"base64,[^\"]*", "", text)
    for row in result.rows:
        shape = open_image(result.page.parent / "images" / f"{row.name}.png").shape[1:]
        plain, again, outlined = (decoded(uri) for uri in page.pictures[row.name])
        assert plain.shape == outlined.shape == (*shape, 3)
        assert np.array_equal(plain, again)
        assert np.array_equal(plain, outlined) == (row.cells == 0)
    for link in page.links:
        assert (result.page.parent / link).is_file(), link


def decoded(uri: str) -> NDArray[np.uint8]:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Picture.open(BytesIO(base64.b64decode(data))))


def test_the_files_agree_with_the_page(
    made: tuple[DemoResult, list[tuple[int, int, str]]],
) -> None:
    result, _ = made
    out = result.page.parent
    page = Page(result.page.read_text(encoding="utf-8"))
    for row in result.rows:
        labels = read_labels(out / f"{row.name}_label.tiff")
        assert labels.max() == row.cells
        assert f"cells {row.cells:,} median" in page.texts[row.name]
        assert row.modality in page.texts[row.name]
        assert open_image(out / f"{row.name}_overlay.png").shape[1:] == labels.shape
        if row.f1 is not None:
            truth = read_labels(out / f"{row.name}_truth.tiff")
            assert row.f1 == score_pair(labels, truth)[0].values.f1
            assert f"{row.f1:.3f}" in page.texts[row.name]
    run = json.loads((out / "run.json").read_text())
    assert run["model"]["name"] == "classical"
    assert [v["cells"] for v in run["results"]] == [row.cells for row in result.rows]


def test_simulated_images_are_the_simulated_ones_and_real_ones_have_no_score(
    made: tuple[DemoResult, list[tuple[int, int, str]]],
) -> None:
    result, _ = made
    for row in result.rows:
        assert (row.f1 is None) == row.source.startswith("real")
    for name in ("nuclei", "blood", "tissue"):
        expected = simulate(name, (384, 384), diameter=24, seed=SEEDS[name])
        image = open_image(result.page.parent / "images" / f"{name}.png")
        pixels = image.read(image_region(image.shape))
        assert np.array_equal(pixels[-len(expected.image) :], expected.image)
        assert np.array_equal(
            read_labels(result.page.parent / f"{name}_truth.tiff"), expected.labels
        )
    f1 = {row.name: row.f1 for row in result.rows}
    assert (f1["nuclei"] or 0) > 0.3  # where even a threshold finds some


def image_region(shape: tuple[int, int, int]) -> object:
    from anycell.image import Region

    return Region(0, 0, shape[1], shape[2])


@pytest.mark.usefixtures("small")
def test_a_second_run_replaces_the_first_and_nothing_found_is_shown(tmp_path: Path) -> None:
    first = demo(tmp_path, Classic())
    second = demo(tmp_path, Blind())
    assert first.page == second.page
    assert sum(row.cells for row in first.rows) > 0
    assert [row.cells for row in second.rows] == [0, 0]
    assert [row.f1 for row in second.rows] == [0.0, 0.0]
    assert all(math.isnan(row.diameter) for row in second.rows)
    text = Page(second.page.read_text(encoding="utf-8")).texts
    assert "median diameter - " in text["nuclei"]
    assert "model blind" in " ".join(text.values())
    assert read_labels(tmp_path / "nuclei_label.tiff").max() == 0


@pytest.mark.usefixtures("small")
def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        demo(tmp_path / "taken", Classic())
