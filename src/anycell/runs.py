"""run.json: how a folder of results was made, written beside them.

Every command that writes a folder leaves one, so that each number and each label
image can be traced to a command, a version, a model and its settings.
"""

from __future__ import annotations

import json
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

__all__ = ["RUN_FILE", "Clock", "peak_memory", "write_run"]

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


def peak_memory() -> int | None:
    """The most memory that this process has held so far, in bytes; None on Windows."""
    if sys.platform == "win32":
        return None
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
) -> Path:
    """Write ``folder/run.json`` and give its path.

    The file appears whole or not at all: it is written under another name, then renamed.

    Parameters
    ----------
    folder : made when it does not exist.
    clock : made when the run began.
    settings : what the run was told; paths are written as text.
    model : its ``name`` and ``hash``, for runs that use one.
    results : one entry per file.

    Raises
    ------
    OutputError : the folder or the file cannot be written.
    """
    from anycell import __version__

    record = {
        "command": _command(),
        "version": __version__,
        "model": dict(model) if model is not None else None,
        "settings": dict(settings),
        "results": [dict(result) for result in results],
        "date": clock.date,
        "seconds": round(clock.seconds, 3),
        "peak_memory_bytes": peak_memory(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }
    path = folder / RUN_FILE
    unfinished = folder / f".{RUN_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}",
            expected="a folder that may be written to",
            hint="-o ANOTHER_FOLDER",
        ) from error
    return path


def _command() -> list[str]:
    """The command line, its program by name: where it is installed says nothing."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else []
