"""``anycell simulate``: training data with exact labels for what nobody has labeled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from anycell.cli.screen import Json, Progress, Quiet, counted, show_json
from anycell.runs import Clock, write_run

__all__ = ["Simulate"]


@dataclass(frozen=True)
class Simulate:
    """Write simulated images and their labels as a folder that train takes."""

    out: Annotated[Path, typer.Argument(help="Folder to write to.")]
    count: Annotated[int, typer.Option(help="Images of each modality.")] = 60
    modalities: Annotated[
        str | None, typer.Option(help="Which, as in phase,dic; all by default.")
    ] = None
    seed: Annotated[int, typer.Option(help="Of the first image of each modality.")] = 1000
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Write the folder."""
        from anycell.simulate import MODALITIES
        from anycell.simulate.dataset import write_dataset

        clock = Clock()
        names = self.modalities.split(",") if self.modalities else list(MODALITIES)
        with Progress("images", quiet=self.quiet or self.json) as progress:
            cells = write_dataset(
                self.out, self.count, modalities=names, seed=self.seed, progress=progress.step
            )
        settings = {"count": self.count, "modalities": names, "seed": self.seed}
        write_run(self.out, clock, settings=settings)
        images = self.count * len(names)
        if self.json:
            show_json({"out": self.out, "images": images, "cells": cells})
        elif not self.quiet:
            print(f"{counted(cells, 'cell')} in {counted(images, 'image')} -> {self.out}")
        return 0
