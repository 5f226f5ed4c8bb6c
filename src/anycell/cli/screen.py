"""What a person sees: progress and errors on stderr, results on stdout.

On a terminal progress is a bar; elsewhere it is one plain line per file, so that a
log stays readable.
"""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from anycell.errors import AnycellError
from anycell.runs import plain

if TYPE_CHECKING:
    from anycell.folders import FileResult
    from anycell.tasks import Task

__all__ = [
    "FileProgress",
    "Json",
    "Progress",
    "Quiet",
    "counted",
    "show_error",
    "show_json",
    "show_refused",
    "show_table",
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

LOG_WIDTH = 160
"""Columns of a table where there is no terminal to ask."""


def show_error(error: AnycellError, *, json: bool = False) -> None:
    """Print what was found, what was expected and what to try."""
    if json:
        parts = {"found": error.found, "expected": error.expected, "try": error.hint}
        show_json({"error": {"kind": type(error).__name__, **parts}})
        return
    print(f"error: {error}", file=sys.stderr)


def show_refused(model: object) -> None:
    """Say so where a model does not compute in the precision that it ships."""
    if refused := getattr(model, "refused", ""):
        print(f"note: {refused}; fp32 is used", file=sys.stderr)


def show_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object on one line of its own."""
    print(json_format.dumps(plain(result), allow_nan=False))


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns after the first that hold numbers are set to the right.

    Nothing is cut off: a table that is wider than the terminal runs over its edge.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, head in enumerate(heads):
        numbers = all(row[index][:1].isdigit() or row[index] in ("", "-", "nan") for row in rows)
        if index and numbers:
            table.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
        else:
            table.add_column(head, no_wrap=index == 0)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    room = console.width if console.is_terminal else LOG_WIDTH
    endless = console.options.update(width=10_000)
    console.width = max(room, Measurement.get(console, endless, table).minimum)
    console.print(table)


def counted(number: int, what: str) -> str:
    """A number and its noun, in the plural when there is not one of it."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class Progress:
    """A bar on a terminal, drawn between enter and exit; plain lines elsewhere."""

    def __init__(self, what: str, *, total: int | None = None, quiet: bool) -> None:
        self.quiet = quiet
        self.bar = _bar() if sys.stderr.isatty() and not quiet else None
        self.task = self.bar.add_task(what, total=total) if self.bar else None

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing, whatever happened."""
        if self.bar:
            self.bar.stop()

    def step(self, done: int, total: int, name: str) -> None:
        """Note that ``done`` of ``total`` things are done, the last one called ``name``."""
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, total=total)
        elif not self.quiet:
            print(f"[{done}/{total}] {name}", file=sys.stderr, flush=True)


class FileProgress(Progress):
    """Shows how far a run over many files has come, and within a file."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        super().__init__("files", total=total, quiet=quiet)
        self.total = total
        self.count = 0
        self.tiles = self.bar.add_task("", total=None) if self.bar else None

    def tile(self, task: Task, done: int, total: int) -> None:
        """Move the bar of the image that is being segmented."""
        if self.bar and self.tiles is not None:
            self.bar.update(self.tiles, description=task.image.name, completed=done, total=total)

    def file(self, result: FileResult) -> None:
        """Say what became of a file."""
        self.count += 1
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=self.count)
        if self.quiet and result.error is None:
            return
        line = f"[{self.count}/{self.total}] {result.image}: {_outcome(result)}"
        if self.bar is None:
            print(line, file=sys.stderr, flush=True)
        elif result.error is not None:
            self.bar.console.print(line, markup=False, highlight=False)


def _outcome(result: FileResult) -> str:
    if result.error is not None:
        return "failed\n    " + str(result.error).replace("\n", "\n    ")
    if result.status == "skipped":
        return "skipped, its results are there"
    if result.status == "shard":
        return f"its share of the tiles in {result.seconds:.1f} s"
    return f"{counted(result.cells or 0, 'cell')} in {result.seconds:.1f} s"


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
