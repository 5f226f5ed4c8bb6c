"""Weak labels: points, ignored pixels, shares of the labels, views and pseudo-labels."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from anycell.errors import InputError, SettingError
from anycell.files import read_labels, write_labels
from anycell.labels import Labels
from anycell.matching import Rules
from anycell.points import labels_from_points, read_points
from anycell.pseudo import Belief, write_pseudo_labels
from anycell.representations import Fields, representation
from anycell.samples import find_samples, share_labels, without_groups
from anycell.scores import score_pair
from anycell.turns import TURNS, Turn
from anycell.views import Averaged, Believing, agreement
from cells import CELLS, enlarge
from truth import Truth, disks, truth

STRICT = Rules(iou=(0.9,), ignore_border=0)


def picture_of(labels: Labels, seed: int = 0) -> np.ndarray:
    """Bright cells, darker in the middle, on noise: 3 x H x W."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(labels > 0)
    grey = np.where(labels > 0, 0.9 - 0.02 * depth, 0.1)
    noise = np.random.default_rng(seed).normal(0, 0.02, labels.shape)
    return np.stack([grey + noise] * 3).astype(np.float32)


def middles(labels: Labels) -> np.ndarray:
    return np.array([np.argwhere(labels == k).mean(axis=0) for k in range(1, labels.max() + 1)])


def test_points_grow_into_the_cells_around_them() -> None:
    labels = disks((160, 160), 25, (9.0, 12.0), seed=1, gap=2.0)
    found, known = labels_from_points(picture_of(labels), middles(labels))
    (score,) = score_pair(found, labels, Rules(iou=(0.8,), ignore_border=0))
    assert score.fp == 0
    assert score.tp >= 0.9 * labels.max()
    assert known.mean() > 0.9


def test_what_no_point_claims_is_not_known() -> None:
    labels = disks((160, 160), 25, (9.0, 12.0), seed=1, gap=3.0)
    places = middles(labels)
    found, known = labels_from_points(picture_of(labels), places[::2])
    forgotten = np.isin(labels, np.arange(1, labels.max() + 1)[1::2])
    assert not found[forgotten].any()
    assert known[forgotten].mean() < 0.02
    assert known[labels == 0].mean() > 0.6
    nothing, never = labels_from_points(picture_of(labels), np.zeros((0, 2)))
    assert not nothing.any()
    assert not never.any()


def test_a_point_in_the_background_teaches_nothing() -> None:
    labels = disks((120, 120), 8, (9.0, 12.0), seed=4, gap=6.0)
    empty = np.argwhere(labels == 0)[50].astype(float)
    found, known = labels_from_points(picture_of(labels), np.vstack([middles(labels), empty]))
    assert found.max() == labels.max()
    assert not known[tuple(empty.astype(int))]


def test_tables_of_points_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    table = tmp_path / "points.csv"
    table.write_text("image,x,y,type\na,10,20,0\na,1.5,2,3\nb,0,0,1\n")
    found = read_points(table)
    assert found["a"].tolist() == [[20.0, 10.0], [2.0, 1.5]]
    assert list(found) == ["a", "b"]
    table.write_text("image,row,column\na,1,2\n")
    with pytest.raises(InputError, match="image, x, y"):
        read_points(table)
    table.write_text("image,x,y\na,1,two\n")
    with pytest.raises(InputError, match="line 2"):
        read_points(table)
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path / "none.csv")


def folder(root: Path, group: str, count: int, labeled: bool = True) -> list[Labels]:
    """A group of images of one size with labels."""
    made = []
    for kind in ("images", "labels"):
        (root / group / kind).mkdir(parents=True, exist_ok=True)
    for k in range(count):
        labels = disks((96, 96), 8, (8.0, 12.0), seed=k, gap=2.0)
        grey = (255 * np.clip(picture_of(labels, k)[0], 0, 1)).astype(np.uint8)
        Picture.fromarray(grey).save(root / group / "images" / f"{k}.png")
        if labeled:
            write_labels(labels, root / group / "labels" / f"{k}.tif")
        made.append(labels)
    return made


def test_samples_know_of_points_and_ignored_pixels(tmp_path: Path) -> None:
    folder(tmp_path, "a", 2)
    folder(tmp_path, "b", 3, labeled=False)
    folder(tmp_path, "c", 1)
    (tmp_path / "a" / "ignore").mkdir()
    write_labels(np.eye(96, dtype=np.int32), tmp_path / "a" / "ignore" / "0.tif")
    (tmp_path / "b" / "points.csv").write_text("image,x,y\n1,5,5\n")
    found = {(s.group, s.image.stem): s for s in find_samples(tmp_path)}
    assert found["a", "0"].ignore == tmp_path / "a" / "ignore" / "0.tif"
    assert found["a", "1"].ignore is None
    assert [k for k, s in found.items() if s.points] == [("b", "1")]
    assert [k for k, s in found.items() if s.teaches] == [("a", "0"), ("a", "1"), ("b", "1")]
    rows = "use,group,image,labels,labeled,ignore\n"
    rows += "unlabeled,b,b/images/1.png,,points: points.csv,\n"
    rows += "train,a,a/images/0.png,a/labels/0.tif,cells,a/ignore/0.tif\n"
    (tmp_path / "manifest.csv").write_text(rows)
    listed = find_samples(tmp_path)
    assert listed[0].points == tmp_path / "b" / "points.csv"
    assert listed[1].ignore == tmp_path / "a" / "ignore" / "0.tif"
    (tmp_path / "b" / "points.csv").unlink()
    with pytest.raises(InputError, match=r"points\.csv"):
        find_samples(tmp_path)


def test_a_share_of_the_labels_is_a_subset_of_a_larger_one(tmp_path: Path) -> None:
    folder(tmp_path, "a", 10)
    folder(tmp_path, "b", 1)
    folder(tmp_path, "c", 1)
    samples = find_samples(tmp_path)

    def labeled(share: float, seed: int = 1) -> set[Path]:
        return {s.image for s in share_labels(samples, share, seed) if s.use == "train"}

    assert [len(labeled(v)) for v in (0.01, 0.2, 0.5, 1.0)] == [2, 3, 6, 11]
    assert labeled(0.2) < labeled(0.5) < labeled(1.0)
    assert labeled(0.5) != labeled(0.5, seed=2)
    assert len(share_labels(samples, 0.2, 1)) == len(samples)
    with pytest.raises(SettingError, match="share"):
        share_labels(samples, 0.0, 1)
    assert {s.group for s in without_groups(samples, ["a"])} == {"b", "c"}
    with pytest.raises(SettingError, match="group"):
        without_groups(samples, ["d"])


def test_agreement_is_the_best_overlap() -> None:
    a = np.zeros((10, 10), np.int32)
    a[:4, :4], a[6:, 6:], a[0:2, 6:] = 1, 2, 3
    b = np.zeros_like(a)
    b[:4, :2], b[:4, 2:5], b[6:, 6:] = 5, 2, 1
    assert agreement(a, b).tolist() == pytest.approx([8 / 16, 1.0, 0.0])
    assert agreement(np.zeros_like(a), b).size == 0


@pytest.mark.parametrize("name", ["votes", "flows", "stars"])
def test_averaging_over_turns_leaves_a_perfect_predictor_alone(name: str) -> None:
    labels = disks((64, 64), 10, (6.0, 9.0), seed=2)
    rep = representation(name)

    class Perfect(Truth):
        def outputs(self, tiles: np.ndarray, style: np.ndarray | None = None) -> Fields:
            numbers = tiles[:, 0].round().astype(np.int32)
            return np.stack([rep.encode(n)[: rep.channels] for n in numbers])

    image, base = truth(labels, representation=rep)
    perfect = Perfect(labels, base.normalization, rep)
    tiles = np.repeat(labels[None, None].astype(np.float32), 3, axis=1)
    once = perfect.outputs(tiles)
    mean = Averaged(perfect, TURNS).outputs(tiles)
    decoded = rep.decode(mean[0], labels.shape)
    (score,) = score_pair(decoded, rep.decode(once[0], labels.shape), STRICT)
    assert (score.fp, score.fn) == (0, 0)
    del image


def test_belief_falls_with_parity_and_with_the_margin() -> None:
    rep = representation("votes")
    labels = enlarge(CELLS["touching"], 8)
    outputs = rep.encode(labels)[: rep.channels]
    believing = Believing(rep)
    assert believing.confidence(outputs, labels).min() == 1.0
    wrong = outputs.copy()
    wrong[4:6, :, : wrong.shape[2] // 2] += 2.0  # 16 field pixels off
    left = np.unique(labels[:, : labels.shape[1] // 2 - 8])[1:] - 1
    assert believing.confidence(wrong, labels)[left].max() < 0.5
    unsure = outputs.copy()
    unsure[:4] = np.where(unsure[:4] > 0, 0.2, -0.2)
    assert believing.confidence(unsure, labels).max() < 0.5


class Doubtful(Truth):
    """Knows the bright pieces, but in other views than the plain one only the larger half."""

    def outputs(self, tiles: np.ndarray, style: np.ndarray | None = None) -> Fields:
        from skimage.measure import label

        found = []
        for tile in tiles:
            pieces = label(tile[0] > 0.5).astype(np.int32)
            size = np.bincount(pieces.ravel())
            plain = tile[1, 0, -1] > tile[1, 0, 0]  # the second channel gets brighter rightwards
            drop = np.zeros(len(size), bool) if plain else size < np.median(size[1:])
            seen = np.where(drop[pieces], 0, pieces).astype(np.int32)
            found.append(self.representation.encode(seen)[: self.representation.channels])
        return np.stack(found)


def test_cells_that_other_views_miss_are_ignored(tmp_path: Path) -> None:
    import tifffile

    labels = disks((128, 128), 20, (6.0, 12.0), seed=3, gap=4.0)
    columns = np.broadcast_to(np.linspace(0, 1, 128, dtype=np.float32), labels.shape)
    pixels = np.stack([(labels > 0).astype(np.float32), columns])
    (tmp_path / "data" / "images").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "data" / "images" / "a.tif", pixels, metadata={"axes": "CYX"})
    _, base = truth(labels, representation=representation("votes"))
    model = Doubtful(labels, base.normalization, base.representation, halo=16)
    samples = find_samples(tmp_path / "data")
    out = tmp_path / "out"
    believed, found = write_pseudo_labels(samples, model, out, Belief(quota=0.0))
    rows = list(csv.DictReader((out / "cells.csv").read_text().splitlines()))
    assert len(rows) == found
    assert sum(row["believed"] == "1" for row in rows) == believed
    (made,) = find_samples(out)
    assert made.labels is not None
    assert made.ignore is not None
    kept, ignored = read_labels(made.labels), read_labels(made.ignore) > 0
    size = np.bincount(labels.ravel())
    small, large = (
        (labels > 0) & keep[labels]
        for keep in (size < 0.9 * np.median(size[1:]), size > 1.1 * np.median(size[1:]))
    )
    assert not kept[small].any()
    assert ignored[small].mean() > 0.9
    assert (kept[large] > 0).mean() > 0.9
    assert not ignored[kept > 0].any()
    assert not ignored[labels == 0].all()
    assert (out / "pseudo_data" / "overlays" / "a.png").is_file()
    with pytest.raises(SettingError, match="no unlabeled"):
        write_pseudo_labels((dataclasses.replace(samples[0], labels=made.labels),), model, out)


def test_a_turn_of_a_turn_is_undone() -> None:
    for turn in TURNS:
        plane = np.arange(6).reshape(2, 3)
        assert np.array_equal(turn.inverse.plane(turn.plane(plane)), plane)
    assert Turn(1).inverse == Turn(3)
