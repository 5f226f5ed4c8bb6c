"""Jobs in processes of their own: started, listened to, and told about when they fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from anycell import errors
from anycell.errors import AnycellError, ModelError
from anycell.runs import make_folder, plain

__all__ = ["JobError", "run_job"]

TAIL = 6
PATIENCE = 120
"""Seconds that an interrupted training has to write its checkpoint."""


class JobError(AnycellError):
    """A job ended in an error that is not of its user's making; its log says more."""


def run_job(job: Mapping[str, Any], log: Path, say: Callable[[Mapping[str, Any]], None]) -> Any:
    """Do a job of ``anycell.compare.worker`` and give its result.

    Parameters
    ----------
    job : as the worker takes it.
    log : what the process prints besides its messages; a job's description lies beside it.
    say : is called with every message but the last.

    Raises
    ------
    AnycellError : as the job raised it; JobError when it broke.
    KeyboardInterrupt : after the job has had time to save what it has.
    """
    make_folder(log.parent)
    description = log.with_suffix(".json")
    content = plain({**job, "began": time.time()})
    description.write_text(json.dumps(content, indent=1), encoding="utf-8")
    command = [sys.executable, "-m", "anycell.compare.worker", str(description)]
    with (
        log.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        try:
            last = _listen(process.stdout, say)
            code = process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
    if "error" in last:
        kind, found, expected, hint = last["error"]
        made: AnycellError = getattr(errors, kind, ModelError)(found, expected=expected, hint=hint)
        raise made
    if code or "result" not in last:
        raise JobError(_reason(code, log), hint=f"{log} says more")
    return last["result"]


def _listen(stream: IO[str] | None, say: Callable[[Mapping[str, Any]], None]) -> Mapping[str, Any]:
    """Pass messages on until the stream ends; give the last one."""
    last: dict[str, Any] = {}
    for line in stream or ():
        last = json.loads(line)
        if not {"result", "error"} & set(last):
            say(last)
    return last


def _end(process: subprocess.Popen[str]) -> None:
    """Let a process that was interrupted too save its state; end it when it takes too long."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()


def _reason(code: int, log: Path) -> str:
    """Why a process ended, in the last words that it said."""
    words = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = "\n".join(words[-TAIL:])
    ended = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    more = ", perhaps for lack of memory" if code == -9 else ""
    return f"the process {ended}{more}" + (f":\n{said}" if said else "")
