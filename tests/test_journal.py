"""The journal: what was put is there after any crash, and nothing else is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from anycell.errors import OutputError
from anycell.journal import Journal, journals_in, packed, read_plan, unpacked

PLAN = {"zoom": 0.5, "model": "general", "tiles": [[0, 1], [2, 3]]}
RECORDS = {0: b"first", 5: b"second " * 100, 2: b""}


def written(folder: Path) -> Path:
    path = folder / "tiles.journal"
    journal = Journal(path, PLAN)
    for number, payload in RECORDS.items():
        journal.put(number, payload)
    journal.close()
    return path


def content(path: Path) -> dict[int, bytes]:
    journal = Journal(path, PLAN)
    found = {number: journal.get(number) for number in range(9) if number in journal}
    assert len(journal) == len(found)
    journal.close()
    return found


def test_what_was_put_is_there_when_opened_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert content(path) == RECORDS
    assert read_plan(path) == PLAN
    assert journals_in(tmp_path) == [path]


def test_cut_off_anywhere_the_whole_records_stay(tmp_path: Path) -> None:
    whole = written(tmp_path).read_bytes()
    plan = whole.index(b"\n") + 1
    path = tmp_path / "cut.journal"
    known = [dict(list(RECORDS.items())[:k]) for k in range(4)]
    seen = set()
    for size in range(plan, len(whole) + 1, 7):
        path.write_bytes(whole[:size])
        found = content(path)
        assert found in known
        seen.add(len(found))
        assert path.stat().st_size <= size
        journal = Journal(path, PLAN)
        journal.put(8, b"goes on")
        journal.close()
        assert content(path) == found | {8: b"goes on"}
    assert seen >= {0, 1, 2}


def test_a_damaged_record_and_what_follows_it_are_taken_away(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"second") + 40] ^= 1
    path.write_bytes(data)
    assert content(path) == {0: b"first"}


def test_another_plan_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(OutputError, match=r"zoom: 0\.5, now 0\.25"):
        Journal(path, PLAN | {"zoom": 0.25})
    with pytest.raises(OutputError, match="level: null, now 2"):
        Journal(path, PLAN | {"level": 2})
    assert content(path) == RECORDS


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.journal").write_bytes(b"\x00\x01 something else\n")
    with pytest.raises(OutputError, match="cannot be read"):
        Journal(tmp_path / "x.journal", PLAN)


@pytest.mark.parametrize("truncates", [True, False])
def test_a_full_disk_loses_nothing_that_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truncates: bool
) -> None:
    path = written(tmp_path)
    journal = Journal(path, PLAN)
    file = journal._file

    class Full:
        """Half of what is written arrives, then the disk is full."""

        def write(self, data: bytes) -> int:
            file.write(data[: len(data) // 2])
            file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def truncate(self, size: int) -> int:
            if not truncates:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return file.truncate(size)

        def __getattr__(self, name: str) -> object:
            return getattr(file, name)

    monkeypatch.setattr(journal, "_file", Full())
    with pytest.raises(OutputError, match="--resume"):
        journal.put(7, b"x" * 1000)
    assert 7 not in journal
    file.close()
    assert content(path) == RECORDS


def test_a_closed_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path / "missing" / "tiles.journal", PLAN)


@pytest.mark.parametrize("top", [3, 70_000])
def test_packing_loses_nothing(top: int) -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    labels[2, 3] = top
    confidence = np.linspace(0, 1, 12, dtype=np.float32)
    found = unpacked(packed(labels, confidence, {"core": [1, 2, 3, 4]}))
    assert np.array_equal(found[0], labels)
    assert found[0].dtype == np.int32
    assert np.array_equal(found[1], confidence)
    assert found[2] == {"core": [1, 2, 3, 4]}
