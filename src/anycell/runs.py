"""run.json: how a folder of results was made, written beside them.

Every command that writes a folder leaves one, so that each number and each label
image can be traced to a command, a version, a model and its settings.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anycell.errors import InputError, OutputError
from anycell.files.damage import replacing

__all__ = [
    "RUN_FILE",
    "Clock",
    "check_made",
    "command_line",
    "cores",
    "earlier_entries",
    "keep_memory_small",
    "make_folder",
    "peak_memory",
    "plain",
    "write_run",
]

RUN_FILE = "run.json"


@dataclass(frozen=True)
class Clock:
    """When a run began; made at its start."""

    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.began


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not tell
        return os.cpu_count() or 1


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes; None on Windows."""
    if sys.platform == "win32":
        return None
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage counts what the parent held when it started this process, too.
        lines = status.read_text(encoding="utf-8").splitlines()
        peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def keep_memory_small() -> None:
    """Have the threads of this process share one heap.

    With a heap for each thread, what a tile lets go of in one is not there for the next tile
    in another: a slide of 10,000 pixels then takes a fifth more memory, and no less time.
    Elsewhere than on glibc nothing is done.  To be called before threads are started.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        most_arenas = -8  # its name in glibc's malloc.h
        library.mallopt(most_arenas, 1)


def write_run(
    folder: Path,
    clock: Clock,
    *,
    settings: Mapping[str, Any],
    model: Mapping[str, str] | None = None,
    results: Sequence[Mapping[str, Any]] = (),
    name: str = RUN_FILE,
    earlier: Sequence[Mapping[str, Any]] | None = None,
) -> Path:
    """Write ``folder/run.json`` and give its path.

    The file appears whole or not at all.

    Parameters
    ----------
    folder : made when it does not exist.
    clock : made when the run began.
    settings : what the run was told; paths become text, not-a-number becomes null.
    model : its ``name`` and ``hash``, for runs that use one.
    results : one entry per file.
    name : of the file.
    earlier : entries of runs before, for labels in the folder that this one left alone;
        None for those that ``results`` do not name.

    Raises
    ------
    OutputError : the folder or the file cannot be written.
    """
    from anycell import __version__

    if earlier is None:
        written = {entry.get("labels") for entry in results}
        before = earlier_entries(folder, name).values()
        earlier = [entry for entry in before if entry["labels"] not in written]
    record = {
        "command": command_line(),
        "version": __version__,
        "model": model,
        "settings": settings,
        "results": list(results),
        "earlier": list(earlier),
        "folder": folder,
        "date": clock.date,
        "seconds": round(clock.seconds, 3),
        "peak_memory_bytes": peak_memory(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }
    make_folder(folder)
    path = folder / name
    text = json.dumps(plain(record), indent=2, allow_nan=False) + "\n"
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def earlier_entries(folder: Path, name: str = RUN_FILE) -> dict[Path, dict[str, Any]]:
    """What the runs before noted of the label files that are in a folder, by their paths.

    Each entry has ``made``: command, version, model, settings and date of the run that wrote
    the file.  Nothing is known from a file that is not there or that no run of ours wrote.
    """
    try:
        record = json.loads((folder / name).read_text(encoding="utf-8"))
        entries = [*record["results"], *record["earlier"]]
        made = {key: record[key] for key in ("command", "version", "model", "settings", "date")}
        began = Path(record["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    known: dict[Path, dict[str, Any]] = {}
    for entry in entries:
        text = entry.get("labels")
        if entry.get("status") in ("done", "skipped") and text and entry.get("cells") is not None:
            # The folder may be named otherwise today, as from another working directory.
            place = folder / Path(text).relative_to(began)
            if place.exists():
                known[place] = {"made": made, **entry, "labels": str(place)}
    return known


def check_made(
    place: Path, made: Mapping[str, Any], settings: Mapping[str, Any], model: Mapping[str, str]
) -> None:
    """Check that a file is what would be made now.

    Parameters
    ----------
    place : the file.
    made : how it was made, as ``earlier_entries`` gives it.
    settings, model : those of now that it depends on.

    Raises
    ------
    InputError : it was made with another model or setting.
    """
    before = made["model"] or {}
    pairs = {k: (made["settings"].get(k), v) for k, v in plain(settings).items()}
    pairs["model"] = (before.get("hash"), model.get("hash"))
    pairs["precision"] = (before.get("precision"), model.get("precision"))
    wrong = [f"{k} {_word(a)}, now {_word(b)}" for k, (a, b) in pairs.items() if a != b]
    if wrong:
        raise InputError(
            f"{place} was made with {'; '.join(wrong)}",
            expected="the same model and settings, to go on",
            hint="--restart to begin anew, or another folder after -o",
        )


def _word(value: Any) -> str:
    """A setting in an error: a region as its four numbers."""
    if value is None:
        return "none"
    return ",".join(map(str, value.values())) if isinstance(value, dict) else str(value)


def make_folder(folder: Path) -> None:
    """Make a folder for results, and those above it, if they are not there.

    Raises
    ------
    OutputError : it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made: {error.strerror}",
            expected="a folder that may be written to",
            hint="another folder after -o",
        ) from error


def plain(value: Any) -> Any:
    """The value in the types of JSON: not-a-number is None, what has no type there is text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return str(value)


def command_line() -> list[str]:
    """Give the command line, its program by name: where it is installed says nothing."""
    if not sys.argv:
        return []
    program = Path(sys.argv[0]).name
    return ["anycell" if program == "__main__.py" else program, *sys.argv[1:]]
