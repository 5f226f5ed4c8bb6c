"""``anycell report``: a comparison as a page to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from anycell.cli.screen import Json, Quiet, show_json

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write the page, the Markdown and the figures of a comparison anew.

    Nothing is trained or segmented: everything comes from OUT/comparison.json.
    """

    out: Annotated[Path, typer.Argument(help="Folder that compare wrote.")]
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Write them."""
        from anycell.report import write_report

        path = write_report(self.out)
        if self.json:
            show_json({"page": path})
        elif not self.quiet:
            print(f"-> {path}")
        return 0
