"""Slides: labels on disk are those in memory, however a run was broken off or shared out."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from anycell.errors import AnycellError, FormatError, InputError, OutputError, SettingError
from anycell.files import open_image, read_labels
from anycell.files.label_store import LabelStore
from anycell.grid import place_of, tile_of
from anycell.image import Image, Region
from anycell.journal import Journal
from anycell.labels import Labels
from anycell.normalize import fit_normalization
from anycell.road import Asked, Road, prepare
from anycell.segment import Segmentation, segment
from anycell.slides import Going, Shard, Target, Written, find_parts, merge, write_slide
from truth import Truth, disks, truth

LABELS = disks((300, 340), 90, (4, 10), 2)
CORE = 50


class Counted(Truth):
    """Counts the tiles that the network has seen; the error comes with the tile after ``most``."""

    seen: list[int]
    most: int

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        if len(self.seen) >= self.most:
            raise InputError("the power went out")
        self.seen.append(1)
        return super().outputs(tiles, style)


def counted(most: int = 10_000) -> tuple[Image, Counted]:
    image, _ = truth(LABELS)
    predictor = Counted(LABELS, fit_normalization(image), halo=12)
    object.__setattr__(predictor, "seen", [])
    object.__setattr__(predictor, "most", most)
    return image, predictor


def road(most: int = 10_000, **asked: Any) -> Road:
    image, predictor = counted(most)
    return prepare(image, predictor, Asked(**({"core": CORE} | asked)))


def seen(of: Road) -> int:
    assert isinstance(of.predictor, Counted)
    return len(of.predictor.seen)


def in_memory() -> Segmentation:
    image, predictor = counted()
    return segment(image, predictor, core=CORE)


def labels_of(written: Written) -> Labels:
    assert written.path is not None
    return read_labels(written.path)


@pytest.mark.parametrize("ending", [".tiff", ".zarr"])
@pytest.mark.parametrize("workers", [1, 3])
def test_labels_on_disk_are_those_in_memory(tmp_path: Path, ending: str, workers: int) -> None:
    steps: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        steps.append((done, total))

    target = Target(tmp_path / f"x_label{ending}", "x", 0.25)
    written = write_slide(road(), target, Going(workers=workers), progress)
    found = in_memory()
    assert np.array_equal(labels_of(written), found.labels)
    assert np.array_equal(written.confidence, found.confidence)
    assert written.cells == found.labels.max() > 50
    assert written.tiles == written.computed == found.tiles > 20
    assert steps == [(k, found.tiles) for k in range(found.tiles + 1)]
    assert [p.name for p in tmp_path.iterdir()] == [f"x_label{ending}"]
    if ending == ".zarr":
        assert open_image(target.path).pixel_size == 0.25


@pytest.mark.parametrize("most", [0, 1, 7, 23])
def test_a_run_broken_off_goes_on_and_does_no_tile_twice(tmp_path: Path, most: int) -> None:
    target = Target(tmp_path / "x_label.tiff")
    broken = road(most)
    with pytest.raises(InputError, match=f"{most} of .* tiles are kept: go on with --resume"):
        write_slide(broken, target, Going(workers=1))
    assert not target.path.exists()
    again = road()
    written = write_slide(again, target, Going(resume=True, workers=1))
    assert seen(broken) + seen(again) == written.tiles
    assert written.computed == written.tiles - most
    assert np.array_equal(labels_of(written), in_memory().labels)
    assert [p.name for p in tmp_path.iterdir()] == ["x_label.tiff"]


def test_what_is_left_is_neither_thrown_away_nor_taken_up_unasked(tmp_path: Path) -> None:
    target = Target(tmp_path / "x_label.tiff")
    with pytest.raises(InputError):
        write_slide(road(5), target)
    with pytest.raises(OutputError, match="--resume to go on from there, --restart"):
        write_slide(road(), target)
    anew = road()
    written = write_slide(anew, target, Going(resume=False))
    assert seen(anew) == written.tiles == written.computed


def test_resume_without_anything_to_resume_just_begins(tmp_path: Path) -> None:
    written = write_slide(road(), Target(tmp_path / "x_label.tiff"), Going(resume=True))
    assert np.array_equal(labels_of(written), in_memory().labels)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"core": 60}, "grid"),
        ({"min_confidence": 0.5}, "least confidence: 0.0, now 0.5"),
        ({"zoom": 0.5}, "zoom: 1.0, now 0.5"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    target = Target(tmp_path / "x_label.tiff")
    with pytest.raises(InputError):
        write_slide(road(5), target)
    with pytest.raises(OutputError, match=told):
        write_slide(road(**change), target, Going(resume=True))
    assert np.array_equal(
        labels_of(write_slide(road(), target, Going(resume=True))), in_memory().labels
    )


def test_another_image_and_another_model_are_refused(tmp_path: Path) -> None:
    target = Target(tmp_path / "x_label.tiff")
    with pytest.raises(InputError):
        write_slide(road(5), target)
    image, predictor = counted()
    y, x = np.mgrid[:300, :340].astype(np.float32) + 0.5
    y[200, 200] += 1
    changed = prepare(Image.from_array(np.stack([y, x])), predictor, Asked(CORE))
    with pytest.raises(OutputError, match="image: "):
        write_slide(changed, target, Going(resume=True))

    class Other(Counted):
        hash = "1" * 16

    other = Other(LABELS, predictor.normalization, halo=12)
    with pytest.raises(OutputError, match=r"model: .*0000000000.*, now .*1111111111"):
        write_slide(prepare(image, other, Asked(CORE)), target, Going(resume=True))


@pytest.mark.parametrize("count", [1, 2, 5, 60])
def test_shards_merge_to_what_one_process_gives(tmp_path: Path, count: int) -> None:
    target = Target(tmp_path / "x_label.tiff", "x", 0.5)
    tiles = []
    for index in reversed(range(1, count + 1)):
        written = write_slide(road(), target, Going(shard=Shard(index, count)))
        assert written.path is None
        assert written.cells is None
        tiles.append(written.computed)
    (parts,) = find_parts(tmp_path)
    assert sum(tiles) == in_memory().tiles
    assert max(tiles) - min(tiles) <= 1
    merged = merge(parts)
    assert merged.computed == 0
    assert np.array_equal(labels_of(merged), in_memory().labels)
    assert np.array_equal(merged.confidence, in_memory().confidence)
    assert [p.name for p in tmp_path.iterdir()] == ["x_label.tiff"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    target = Target(tmp_path / "x_label.tiff")
    write_slide(road(), target, Going(shard=Shard(1, 3)))
    with pytest.raises(InputError):
        write_slide(road(2), target, Going(shard=Shard(3, 3)))
    with pytest.raises(OutputError, match=r"(?s)tiles are missing.*--shard 2/3, --shard 3/3"):
        merge(target.parts)
    write_slide(road(), target, Going(shard=Shard(2, 3)))
    write_slide(road(), target, Going(shard=Shard(3, 3), resume=True))
    assert np.array_equal(labels_of(merge(target.parts)), in_memory().labels)


def test_a_whole_run_takes_up_what_shards_have_done(tmp_path: Path) -> None:
    target = Target(tmp_path / "x_label.tiff")
    shard = write_slide(road(), target, Going(shard=Shard(2, 3)))
    written = write_slide(road(), target, Going(resume=True))
    assert written.computed == written.tiles - shard.computed
    assert np.array_equal(labels_of(written), in_memory().labels)


def test_shards_of_other_settings_do_not_merge(tmp_path: Path) -> None:
    target = Target(tmp_path / "x_label.tiff")
    write_slide(road(), target, Going(shard=Shard(1, 2)))
    write_slide(road(min_confidence=0.5), target, Going(shard=Shard(2, 2)))
    with pytest.raises(OutputError, match="least confidence"):
        merge(target.parts)


def test_shards_of_other_foreground_levels_do_not_merge(tmp_path: Path) -> None:
    """A level is chosen: another processor may come to another one."""
    target = Target(tmp_path / "x_label.tiff")
    write_slide(road(), target, Going(shard=Shard(1, 2)))
    write_slide(replace(road(), levels={Fraction(1): 0.65}), target, Going(shard=Shard(2, 2)))
    with pytest.raises(OutputError, match="levels"):
        merge(target.parts)


def test_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to merge"):
        find_parts(tmp_path)


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "a/b", "1/2/3", "-1/2", "1.5/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="i/n"):
        Shard.of(text)
    assert Shard.of("2/8") == Shard(2, 8)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["journal", "labels", "tiff"])
def test_a_full_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    target = Target(tmp_path / "x_label.tiff")
    first = road()
    with monkeypatch.context() as patch:
        if where == "journal":
            put = Journal.put
            patch.setattr(
                Journal,
                "put",
                lambda self, n, data: put(self, n, data) if n < 9 else _written(self, full),
            )
        elif where == "labels":
            patch.setattr(LabelStore, "flush", full)
            patch.setattr(LabelStore, "to_tiff", lambda self, *_: _written(target, full))
        else:
            patch.setattr(tifffile.TiffWriter, "write", full)
        with pytest.raises(OutputError, match=r"(?s)No space left.*are kept: go on with --resume"):
            write_slide(first, target, Going(workers=1))
    assert not target.path.exists()
    again = road()
    written = write_slide(again, target, Going(resume=True, workers=1))
    assert seen(again) == (written.tiles - 9 if where == "journal" else 0)
    assert np.array_equal(labels_of(written), in_memory().labels)
    assert [p.name for p in tmp_path.iterdir()] == ["x_label.tiff"]


def _written(of: Journal | Target, how: Any) -> None:
    from anycell.files.damage import writing

    with writing(of.path):
        how()


def test_a_source_that_vanishes_loses_nothing(tmp_path: Path) -> None:
    source, away = tmp_path / "x.tiff", tmp_path / "away"
    memory, predictor = counted()
    pixels = memory.read(Region(0, 0, 300, 340))
    tifffile.imwrite(source, pixels, photometric="minisblack")
    image = open_image(source, axes="CYX")
    target = Target(tmp_path / "x_label.tiff")

    def progress(done: int, total: int) -> None:
        if done == 6:
            source.rename(away)

    with pytest.raises(FormatError, match=r"(?s)x.tiff cannot be read.*are kept: go on"):
        write_slide(prepare(image, predictor, Asked(CORE)), target, Going(workers=1), progress)
    away.rename(source)
    done = len(predictor.seen)
    assert done >= 6
    written = write_slide(prepare(image, predictor, Asked(CORE)), target, Going(resume=True))
    assert written.computed == written.tiles - done
    assert np.array_equal(labels_of(written), in_memory().labels)


def test_a_break_by_the_user_leaves_what_was_done(tmp_path: Path) -> None:
    target = Target(tmp_path / "x_label.tiff")

    def progress(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    first = road()
    with pytest.raises(KeyboardInterrupt):
        write_slide(first, target, progress=progress)
    again = road()
    written = write_slide(again, target, Going(resume=True))
    assert seen(first) + seen(again) == written.tiles
    assert np.array_equal(labels_of(written), in_memory().labels)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    target = Target(tmp_path / "x_label.tiff")
    wrong: list[AnycellError] = []

    def progress(done: int, total: int) -> None:
        if done == 3:
            with pytest.raises(OutputError, match="being written by another run") as caught:
                write_slide(road(), target, Going(resume=True))
            wrong.append(caught.value)

    assert write_slide(road(), target, progress=progress).cells
    assert wrong


def test_places_of_tiles_survive_json() -> None:
    for tile in road(zoom=0.7).tiles:
        assert tile_of(place_of(tile)) == tile
        assert replace(tile_of(place_of(tile)), read=tile.core) != tile
