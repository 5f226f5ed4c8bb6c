"""``anycell report``: a comparison as a page to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from anycell.cli.screen import Json, Quiet, show_json
from anycell.errors import SettingError
from anycell.runs import make_folder

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write the page, the Markdown and the figures of a comparison anew.

    Nothing is trained or segmented: everything comes from the comparison.json in each folder.
    Several, judged on the same images, are put into one table, with -o.
    """

    folders: Annotated[list[Path], typer.Argument(help="Folders that compare wrote.")]
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; by default into FOLDER.")
    ] = None
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Write them."""
        from anycell.compare import join, read_comparison
        from anycell.report import write_report

        if len(self.folders) == 1 and self.out is None:
            path = write_report(self.folders[0])
        elif self.out is None:
            raise SettingError(
                f"{len(self.folders)} comparisons and no folder for their report",
                expected="a folder after -o",
            )
        else:
            joined = join([(folder, read_comparison(folder)) for folder in self.folders])
            make_folder(self.out)
            joined.write(self.out)
            path = write_report(self.out, joined)
        if self.json:
            show_json({"page": path})
        elif not self.quiet:
            print(f"-> {path}")
        return 0
