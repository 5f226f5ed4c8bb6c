"""Small jobs side by side, large ones alone, results in the order of the jobs."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from anycell.crew import TooLargeError, side_by_side
from anycell.errors import OutputError
from anycell.files import open_image, read_labels
from anycell.folders import FileResult, FolderSettings, segment_files
from anycell.model import load_model
from anycell.segment import segment
from anycell.tasks import Task, find_tasks
from drawn import CENTRES, disks, draw


def test_results_come_in_the_order_of_the_jobs_and_each_hand_has_one_at_a_time() -> None:
    busy: set[str] = set()
    lock = threading.Lock()

    def small(job: int, hand: str) -> int:
        with lock:
            assert hand not in busy
            busy.add(hand)
        time.sleep(0.002 * (job % 3))
        with lock:
            busy.remove(hand)
        return 10 * job

    assert list(side_by_side(range(40), "abc", small, lambda job: -job)) == list(range(0, 400, 10))


def test_what_is_too_large_is_done_by_the_caller() -> None:
    here = threading.get_ident()

    def small(job: int, hand: str) -> tuple[int, bool]:
        if job % 5 == 0:
            raise TooLargeError
        return job, threading.get_ident() == here

    def large(job: int) -> tuple[int, bool]:
        return job, threading.get_ident() == here

    done = list(side_by_side(range(20), "ab", small, large))
    assert done == [(job, job % 5 == 0) for job in range(20)]


def test_an_error_ends_it_and_nothing_is_begun_afterwards() -> None:
    begun: list[int] = []

    def small(job: int, hand: str) -> int:
        begun.append(job)
        if job == 3:
            raise ValueError("three")
        return job

    done: list[int] = []
    with (
        pytest.raises(ValueError, match="three"),
        closing(side_by_side(range(1000), "ab", small, lambda job: job)) as coming,
    ):
        done.extend(coming)
    assert done == [0, 1, 2]
    count = len(begun)
    time.sleep(0.02)
    assert len(begun) == count < 20


class Watching:
    def __init__(self) -> None:
        self.files: list[Path] = []

    def tile(self, task: Task, done: int, total: int) -> None: ...

    def file(self, result: FileResult) -> None:
        self.files.append(result.image)


def folder_of_many(path: Path) -> Path:
    """Twelve images of several sizes, one that is none, and one that is large."""
    rng = np.random.default_rng(3)
    for number in range(12):
        labels = np.roll(disks(), rng.integers(0, 20, 2), axis=(0, 1))
        draw(path / f"{number:02}.png", labels[: 128 - 5 * (number % 4), : 128 - 7 * (number % 3)])
    (path / "05b.png").write_bytes(b"no image")
    draw(path / "07b.png", np.tile(disks(), (3, 3)))
    return path


@pytest.mark.parametrize("name", ["classical", "general"])
def test_many_files_give_what_each_gives_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("anycell.folders.cores", lambda: 3)
    monkeypatch.setattr("anycell.folders.SMALL_PIXELS", 200 * 200)
    model = load_model(name)
    tasks = find_tasks([folder_of_many(tmp_path / "in")], tmp_path / "out")
    watch = Watching()
    results = segment_files(tasks, tmp_path / "out", model, FolderSettings(), watch)
    assert [result.image for result in results] == [task.image for task in tasks] == watch.files
    assert [r.image.name for r in results if r.status == "failed"] == ["05b.png"]
    for result in results:
        if result.status == "done":
            alone = segment(open_image(result.image), model)
            assert np.array_equal(read_labels(result.labels), alone.labels)
            assert (result.zoom, result.plan) == (alone.zoom, alone.plan)
            assert result.cells == alone.labels.max()
    assert sum(result.cells or 0 for result in results) >= 12 * (len(CENTRES) - 2)


def test_results_that_cannot_be_written_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycell.folders.cores", lambda: 2)
    for number in range(30):
        Picture.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / f"{number:02}.png")
    tasks = find_tasks([tmp_path], tmp_path / "out")
    (tmp_path / "out").mkdir()
    tasks[4].labels.mkdir()
    with pytest.raises(OutputError):
        segment_files(tasks, tmp_path / "out", load_model("classical"), FolderSettings())
    assert not tasks[-1].labels.exists()
