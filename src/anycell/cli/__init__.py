"""The command line: each command reads its arguments, calls the library and prints.

A command is a frozen dataclass: its fields are the arguments and options, ``run``
does the work and gives the exit code.  0 is success, 1 means that some files failed,
2 is a mistake that the user can mend; anything else is a bug with its traceback.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import typer

from anycell.cli.compare import Compare
from anycell.cli.convert import Convert
from anycell.cli.data import Data
from anycell.cli.demo import Demo
from anycell.cli.evaluate import Evaluate
from anycell.cli.info import Info
from anycell.cli.merge import Merge
from anycell.cli.methods import Methods
from anycell.cli.models import models_app
from anycell.cli.pseudolabel import PseudoLabel
from anycell.cli.report import Report
from anycell.cli.screen import show_error
from anycell.cli.segment import Segment
from anycell.cli.simulate import Simulate
from anycell.cli.train import Train
from anycell.errors import AnycellError

__all__ = ["app", "main"]


class Command(Protocol):
    """What every command offers."""

    @property
    def json(self) -> bool:
        """Whether the result, or the error, is wanted as JSON."""

    def run(self) -> int:
        """Do it; the exit code."""


def finish(command: Command, version: bool = False) -> None:
    """Run the command that the arguments make; mistakes exit with 2."""
    del version  # it is an option of the program, seen to before any command
    try:
        code = command.run()
    except AnycellError as error:
        show_error(error, json=command.json)
        code = 2
    raise typer.Exit(code)


app = typer.Typer(
    result_callback=finish,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from anycell import __version__

        print(f"anycell {__version__}")
        raise typer.Exit


@app.callback()
def anycell(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=show_version, help="Print the version."),
    ] = False,
) -> None:
    """Outline every cell in any microscopy image."""


for name, kind in (
    ("segment", Segment),
    ("convert", Convert),
    ("merge", Merge),
    ("evaluate", Evaluate),
    ("train", Train),
    ("pseudolabel", PseudoLabel),
    ("compare", Compare),
    ("report", Report),
    ("simulate", Simulate),
    ("data", Data),
    ("info", Info),
    ("methods", Methods),
    ("demo", Demo),
):
    app.command(name)(kind)
app.add_typer(models_app, name="models")


def main() -> None:
    """Start the program ``anycell``."""
    app()
