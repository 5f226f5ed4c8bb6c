"""Reading data folders into samples: manifest, plain folders, splits and shares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from anycell.errors import InputError, SettingError
from anycell.samples import Sample, find_samples, group_shares


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.zeros((4, 4), np.uint8)).save(path)


def test_a_manifest_is_taken_at_its_word(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        put(tmp_path / f"{name}.png")
    (tmp_path / "manifest.csv").write_text(
        "use,group,image,labels,modality,labeled,cells\n"
        "train,one,a.png,b.png,phase,whole cells,7\n"
        "train,two,c.png,b.png,brightfield,leukocytes only,1\n"
        "unlabeled,three,d.png,,phase,,\n"
        "slide,four,d.png,,brightfield,,\n"
    )
    found = find_samples(tmp_path)
    assert [(s.use, s.group, s.partial, s.cells) for s in found] == [
        ("train", "one", False, 7),
        ("train", "two", True, 1),
        ("unlabeled", "three", False, 1),
    ]
    assert found[0].labels == tmp_path / "b.png"
    assert found[2].labels is None


def test_a_manifest_with_a_missing_file_names_it(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "manifest.csv").write_text("use,group,image,labels\ntrain,one,a.png,gone.png\n")
    with pytest.raises(InputError, match=r"gone\.png"):
        find_samples(tmp_path)


def test_a_manifest_without_a_needed_column_says_which(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("use,image\ntrain,a.png\n")
    with pytest.raises(InputError, match="group"):
        find_samples(tmp_path)


def test_groups_never_straddle_the_split(tmp_path: Path) -> None:
    for group in "abcdefg":
        for k in range(3):
            put(tmp_path / group / "images" / f"{k}.png")
            put(tmp_path / group / "labels" / f"{k}.png")
    put(tmp_path / "a" / "images" / "more.tile.png")
    found = find_samples(tmp_path)
    uses = {g: {s.use for s in found if s.group == g and s.labels} for g in "abcdefg"}
    assert all(len(use) == 1 for use in uses.values())
    assert [g for g, use in uses.items() if use == {"validate"}] == ["e"]
    assert [s.image.name for s in found if s.use == "unlabeled"] == ["more.tile.png"]


def test_one_group_holds_out_every_fifth_image(tmp_path: Path) -> None:
    for k in range(10):
        put(tmp_path / "images" / f"{k}.png")
        put(tmp_path / "labels" / f"{k}_label.png")
    held = [s.image.stem for s in find_samples(tmp_path) if s.use == "validate"]
    assert held == ["4", "9"]


def test_no_samples_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"GROUP/images, with GROUP/labels") as caught:
        find_samples(tmp_path)
    assert caught.value.hint == ""
    put(tmp_path / "a.png")
    with pytest.raises(InputError, match="no samples") as caught:
        find_samples(tmp_path)
    assert str(tmp_path / "GROUP" / "images") in caught.value.hint, "where its images belong"
    with pytest.raises(InputError, match="not a folder"):
        find_samples(tmp_path / "none")


def test_shares_lie_between_equal_and_by_size() -> None:
    def sample(group: str, cells: int) -> Sample:
        return Sample(Path("x"), Path("y"), group, "train", cells=cells)

    samples = (sample("small", 10), *(sample("large", 100) for _ in range(100)))
    shares = group_shares(samples)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["large"] / shares["small"] == pytest.approx(100_000 ** (1 / 8))
    more = group_shares(samples, {"small": 3.0})
    assert more["small"] / more["large"] == pytest.approx(3 * shares["small"] / shares["large"])
    assert sum(more.values()) == pytest.approx(1)
    with pytest.raises(SettingError, match="smal"):
        group_shares(samples, {"smal": 2.0})
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match="times as often"):
            group_shares(samples, {"small": factor})
