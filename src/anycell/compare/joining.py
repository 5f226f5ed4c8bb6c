"""Joining: entries of several comparisons in one table, if they were judged alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anycell.compare.comparison import Comparison
from anycell.compare.entries import Result
from anycell.errors import InputError

__all__ = ["join"]


def join(parts: Sequence[tuple[Path, Comparison]]) -> Comparison:
    """Put the entries of several comparisons, at least one, into one.

    Images, their files aside, and rules must be the same.  What differs in budget or
    machine is kept as ``several``, one for each comparison.

    Parameters
    ----------
    parts : the folder of each comparison, and what was read from it.

    Raises
    ------
    InputError : other images or rules, or the same contender with the same seed twice.
    """
    first_folder, first = parts[0]
    for folder, part in parts[1:]:
        same = [(v.group, v.name) for v in part.images] == [(v.group, v.name) for v in first.images]
        if not same or part.rules != first.rules:
            raise InputError(
                f"{folder} and {first_folder} were judged on other {'rules' if same else 'images'}",
                expected="the same held-out images and rules",
                hint=f"anycell report {folder} alone",
            )
    results = [_placed(result, folder) for folder, part in parts for result in part.results]
    seen: dict[tuple[str, int | None], Result] = {}
    for result in results:
        name = (result.entry.contender, result.entry.seed)
        if name in seen:
            raise InputError(
                f"{name[0]!r} stands in two of the comparisons",
                expected="each contender, or each of its seeds, in one of them only",
                hint="anycell compare with --models OTHER_NAME=FOLDER",
            )
        seen[name] = result
    return replace(
        first,
        results=tuple(results),
        budget=_common([part.budget for _, part in parts]),
        machine=_common([part.machine for _, part in parts]),
        command=tuple(word for _, part in parts for word in (*part.command, ";"))[:-1],
    )


def _placed(result: Result, folder: Path) -> Result:
    """The result with paths that hold from anywhere."""
    where = folder.resolve()
    run = str(where / result.run) if result.run else ""
    return replace(result, predictions=str(where / result.predictions), run=run)


def _common(values: list[dict[str, Any]]) -> dict[str, Any]:
    """What all have in common, or all of them."""
    same = all(value == values[0] for value in values)
    return values[0] if same else {"several": values}
