"""``anycell demo``: segment images that come with the packages, and look at them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from anycell.cli.screen import Json, Quiet

__all__ = ["Demo"]


@dataclass(frozen=True)
class Demo:
    """Segment real and simulated images of every kind and write a page to look at."""

    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("demo_out")
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Make the folder and say where to look."""
        raise NotImplementedError
