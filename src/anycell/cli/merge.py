"""``anycell merge``: what shards have done becomes labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from anycell.cli.screen import Json, Progress, Quiet, counted, show_json

__all__ = ["Merge"]


@dataclass(frozen=True)
class Merge:
    """Put together what anycell segment --shard i/n has done, for every image in a folder."""

    out: Annotated[Path, typer.Argument(help="The folder that all shards wrote to.")]
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Merge the images one after the other."""
        from anycell.runs import Clock, write_run
        from anycell.slides import find_parts, merge

        clock = Clock()
        written = []
        for parts in find_parts(self.out):
            with Progress(parts.name, quiet=self.quiet or self.json) as progress:
                written.append(merge(parts, partial(progress.step, name=str(parts))))
        files = [
            {"labels": str(one.path), "cells": one.cells, "tiles": one.tiles, **one.seconds}
            for one in written
        ]
        write_run(self.out, clock, settings={"out": self.out}, results=files)
        if self.json:
            show_json({"out": self.out, "files": files})
        elif not self.quiet:
            cells = sum(one.cells or 0 for one in written)
            print(f"{counted(cells, 'cell')} in {counted(len(written), 'image')} -> {self.out}")
        return 0
