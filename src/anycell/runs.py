"""run.json: how a folder of results was made, written beside them.

Every command that writes a folder leaves one, so that each number and each label
image can be traced to a command, a version, a model and its settings.
"""

from __future__ import annotations

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

from anycell.errors import OutputError
from anycell.files.damage import replacing

__all__ = [
    "RUN_FILE",
    "Clock",
    "command_line",
    "cores",
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


def write_run(
    folder: Path,
    clock: Clock,
    *,
    settings: Mapping[str, Any],
    model: Mapping[str, str] | None = None,
    results: Sequence[Mapping[str, Any]] = (),
    name: str = RUN_FILE,
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

    Raises
    ------
    OutputError : the folder or the file cannot be written.
    """
    from anycell import __version__

    record = {
        "command": command_line(),
        "version": __version__,
        "model": model,
        "settings": settings,
        "results": list(results),
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
