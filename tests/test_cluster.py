"""Tiles on workers of dask.distributed: the labels of one process, and workers may die."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from anycell.cluster import compute_on, connected
from anycell.errors import FormatError, SettingError
from anycell.files import Opening, open_image, read_labels
from anycell.model import load_model
from anycell.road import Asked, Road, prepare
from anycell.segment import segment
from anycell.slides import Compute, Going, Target, write_slide
from drawn import disks

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the scheduler's own, on slow machines


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.where(np.tile(disks(), (4, 4)) > 0, 180.0, 30.0)
    pixels += np.random.default_rng(0).normal(0, 4, pixels.shape)
    path = tmp_path_factory.mktemp("picture") / "x.png"
    Picture.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


def test_a_cluster_gives_the_labels_of_one_process_and_survives_a_worker(
    tmp_path: Path, client: Any, picture: Path
) -> None:
    opening = Opening(picture)
    road = prepare(opening.open(), load_model("classical"), Asked(core=60))
    target = Target(tmp_path / "x_label.tiff")
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if done == 10 and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)

    written = write_slide(road, target, Going(compute=compute_on(client, opening)), progress)
    assert killed
    assert written.computed == written.tiles > 40
    wanted = segment(open_image(picture), load_model("classical"), core=60)
    assert np.array_equal(read_labels(target.path), wanted.labels)
    assert np.array_equal(written.confidence, wanted.confidence)


def test_the_network_travels_to_the_workers(tmp_path: Path, client: Any, picture: Path) -> None:
    opening = Opening(picture)
    road = prepare(opening.open(), load_model("general"), Asked(core=200, zoom=1.0))
    target = Target(tmp_path / "x_label.tiff")
    written = write_slide(road, target, Going(compute=compute_on(client, opening)))
    wanted = segment(open_image(picture), load_model("general"), core=200, zoom=1.0)
    assert written.tiles > 3
    assert np.array_equal(read_labels(target.path), wanted.labels)


def test_what_goes_wrong_on_a_worker_is_told_here(
    tmp_path: Path, client: Any, picture: Path
) -> None:
    copy = tmp_path / "x.png"
    copy.write_bytes(picture.read_bytes())
    opening = Opening(copy)
    road = prepare(opening.open(), load_model("classical"), Asked(core=60))
    copy.write_bytes(picture.read_bytes()[:3000])
    with pytest.raises(FormatError, match=r"(?s)x.png cannot be read.*are kept"):
        write_slide(
            road, Target(tmp_path / "x_label.tiff"), Going(compute=compute_on(client, opening))
        )


def test_results_in_any_order_give_the_same_labels(tmp_path: Path, picture: Path) -> None:
    road = prepare(open_image(picture), load_model("classical"), Asked(core=60))

    def backwards(road: Road, numbers: Sequence[int]) -> Generator[tuple[int, bytes]]:
        from anycell.grid import place_of
        from anycell.journal import packed

        results = list(road.each(numbers))
        for number, labels, confidence in reversed(results):
            yield number, packed(labels, confidence, place_of(road.tiles[number]))

    compute: Compute = backwards
    written = write_slide(road, Target(tmp_path / "x_label.tiff"), Going(compute=compute))
    wanted = segment(open_image(picture), load_model("classical"), core=60)
    assert written.path is not None
    assert np.array_equal(read_labels(written.path), wanted.labels)


def test_a_tile_that_nobody_computes_is_never_passed_over(tmp_path: Path, picture: Path) -> None:
    def forgetful(road: Road, numbers: Sequence[int]) -> Generator[tuple[int, bytes]]:
        yield from ()

    road = prepare(open_image(picture), load_model("classical"), Asked(core=60))
    target = Target(tmp_path / "x_label.tiff")
    with pytest.raises(RuntimeError, match="was never computed"):
        write_slide(road, target, Going(compute=forgetful))
    assert not target.path.exists()


def test_nobody_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycell.cluster.PATIENCE", 0.2)
    with pytest.raises(SettingError, match="no scheduler answers"), connected("tcp://127.0.0.1:9"):
        pass


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SettingError, match=r"anycell\[cluster\]"), connected("local"):
        pass
