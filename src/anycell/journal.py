"""The journal: what tiles gave, on disk as soon as it is known.

    NAME_label.parts/
        tiles.journal           one line of JSON: the plan; then one record per tile
        tiles-2-of-8.journal    the same, of shard 2 of 8
        labels/                 chunks of the plane, made anew from the records

    record:  "tile" | number | length | CRC-32 | payload (zstd of labels, confidence, place)

A record is written in one go and brought to disk before the next step, so that a run
that is killed loses the tiles in flight and nothing else: a record cut off at the end is
taken away when the journal is opened again.  Claims are made from the records in order,
so a run that was broken off ends with the same labels as one that was not.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import threading
import zlib
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from anycell.errors import OutputError
from anycell.files.damage import writing
from anycell.labels import Labels
from anycell.runs import make_folder

__all__ = ["GO_ON", "Journal", "Journals", "journals_in", "packed", "read_plan", "unpacked"]

ENDING = ".journal"
SHARD_MARK = "-of-"
HEAD = struct.Struct("<4sIQI")
MARK = b"tile"
GO_ON = "the same command with --resume, once there is room"


class Journal:
    """Results of tiles by number; opened to go on, or made new.

    Parameters
    ----------
    path : of the file.
    plan : everything that the results depend on, in the types of JSON.  A journal that
        is there already must have been made with an equal one.

    Raises
    ------
    OutputError : the file cannot be written, is not a journal, or has another plan.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        self._places: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()
        line = json.dumps(plan, sort_keys=True, allow_nan=False).encode() + b"\n"
        with writing(path):
            if not path.exists():
                draft = path.with_name(f".{path.name}.{os.getpid()}.part")
                _write_synced(draft, line)
                draft.replace(path)
                _sync_folder(path.parent)
        _same_plan(read_plan(path), plan, path)
        with writing(path):
            self._file = path.open("r+b")
            with ExitStack() as opened:
                opened.enter_context(self._file)
                _reserve(self._file, path)
                self._end = self._scan(len(line))
                self._file.truncate(self._end)
                opened.pop_all()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def put(self, number: int, payload: bytes) -> None:
        """Add the result of a tile; on disk when this returns.

        When the disk is full the journal stays as it was.
        """
        head = HEAD.pack(MARK, number, len(payload), zlib.crc32(payload))
        with self._lock, writing(self.path, GO_ON):
            try:
                self._file.seek(self._end)
                self._file.write(head + payload)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError:
                self._forget_rest()
                raise
            self._places[number] = (self._end + HEAD.size, len(payload))
            self._end += HEAD.size + len(payload)

    def get(self, number: int) -> bytes:
        """Read the result of a tile back."""
        place, length = self._places[number]
        with self._lock:
            self._file.seek(place)
            return self._file.read(length)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _scan(self, begin: int) -> int:
        """Find the whole records; where they end."""
        place, size = begin, self._file.seek(0, os.SEEK_END)
        while place + HEAD.size <= size:
            self._file.seek(place)
            mark, number, length, check = HEAD.unpack(self._file.read(HEAD.size))
            if mark != MARK or place + HEAD.size + length > size:
                break
            if zlib.crc32(self._file.read(length)) != check:
                break
            self._places[number] = (place + HEAD.size, length)
            place += HEAD.size + length
        return place

    def _forget_rest(self) -> None:
        """Take half a record away; if that fails too, the next opening does it."""
        try:
            self._file.truncate(self._end)
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written: {error.strerror or error}",
                expected="room on its disk",
                hint=GO_ON,
            ) from error


class Journals:
    """All journals of a folder as one; what is new goes to one of them.

    Parameters
    ----------
    folder : made if it is not there.
    plan : see :class:`Journal`.
    own : the name of the file that is written to; None to read only.  The journals of
        others are not looked at by a shard.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any], own: str | None) -> None:
        make_folder(folder)
        paths = [] if own is not None and SHARD_MARK in own else journals_in(folder)
        names = [own, *(path.name for path in paths if path.name != own)]
        with ExitStack() as opened:
            self._all = [
                opened.enter_context(closing(Journal(folder / name, plan)))
                for name in names
                if name is not None
            ]
            opened.pop_all()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self.close()

    def __len__(self) -> int:
        return sum(len(journal) for journal in self._all)

    def __contains__(self, number: int) -> bool:
        return any(number in journal for journal in self._all)

    def get(self, number: int) -> bytes:
        """Read the result of a tile back."""
        return next(journal for journal in self._all if number in journal).get(number)

    def put(self, number: int, payload: bytes) -> None:
        """Add the result of a tile; on disk when this returns."""
        self._all[0].put(number, payload)

    def close(self) -> None:
        """Close the files."""
        for journal in self._all:
            journal.close()


def read_plan(path: Path) -> dict[str, Any]:
    """Read the plan of a journal.

    Raises
    ------
    OutputError : not a journal.
    """
    try:
        with path.open("rb") as file:
            plan: dict[str, Any] = json.loads(file.readline())
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path} cannot be read: {error}",
            expected="the journal of a run that was broken off",
            hint=f"remove {path.parent} to begin anew",
        ) from error
    return plan


def journals_in(folder: Path) -> list[Path]:
    """The journals of a folder, sorted."""
    return sorted(folder.glob(f"*{ENDING}"))


def packed(labels: Labels, confidence: NDArray[np.float32], place: Mapping[str, Any]) -> bytes:
    """The result of one tile as bytes.

    Parameters
    ----------
    labels : rows x columns, numbered from 1.
    confidence : one per cell.
    place : where the tile lies, in the types of JSON.
    """
    import imagecodecs

    narrow = labels.max(initial=0) <= np.iinfo(np.uint16).max
    file = io.BytesIO()
    np.save(file, labels.astype(np.uint16 if narrow else np.int32), allow_pickle=False)
    np.save(file, confidence.astype(np.float32), allow_pickle=False)
    file.write(json.dumps(place).encode())
    return bytes(imagecodecs.zstd_encode(file.getvalue(), level=1))


def unpacked(payload: bytes) -> tuple[Labels, NDArray[np.float32], dict[str, Any]]:
    """Labels, confidence and place of one tile."""
    import imagecodecs

    file = io.BytesIO(imagecodecs.zstd_decode(payload))
    labels = np.load(file, allow_pickle=False).astype(np.int32)
    confidence = np.load(file, allow_pickle=False)
    return labels, confidence, json.loads(file.read())


def _same_plan(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    wanted = json.loads(json.dumps(wanted))
    if found == wanted:
        return
    other = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    told = "; ".join(f"{k}: {_short(found.get(k))}, now {_short(wanted.get(k))}" for k in other)
    raise OutputError(
        f"{path.parent} was begun with something else ({told})",
        expected="the same image, model and settings, to go on",
        hint=f"the command it was begun with, or remove {path.parent} to begin anew",
    )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _reserve(file: IO[bytes], path: Path) -> None:
    """Make sure that no other process writes to the file; Windows sees to that itself."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"{path} is being written by another run",
            expected="one run at a time",
            hint="wait for it to end, or stop it",
        ) from error


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Bring a new name in a folder to disk; Windows has no such thing."""
    if os.name == "nt":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
