"""``anycell pseudolabel``: label unlabeled images as far as a model is to be believed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from anycell.cli.screen import Json, Progress, Quiet, counted, show_json, show_refused
from anycell.runs import Clock, write_run

__all__ = ["PseudoLabel"]


@dataclass(frozen=True)
class PseudoLabel:
    """Label unlabeled images as far as a model is to be believed, as a folder that train takes.

    Look at OUT/pseudo_GROUP/overlays: cells that are believed are outlined, ignored pixels dark.
    """

    data: Annotated[list[Path], typer.Argument(help="Folders of images; labeled ones are left.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")]
    model: Annotated[
        str | None,
        typer.Option(help="Name or folder of a model; by default the one in the package."),
    ] = None
    skip: Annotated[
        list[str] | None, typer.Option(help="A group to leave out; may be given again.")
    ] = None
    overlap: Annotated[float, typer.Option(help="Least IoU of a cell across views.")] = 0.8
    quota: Annotated[
        float, typer.Option(help="Share of a group's cells to believe, if half-way good.")
    ] = 0.3
    per_group: Annotated[int, typer.Option(help="Images of each group to look at.")] = 40
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Write the folder."""
        from anycell.model import default_model, load_model
        from anycell.pseudo import Belief, write_pseudo_labels
        from anycell.samples import find_samples, without_groups

        clock = Clock()
        belief = Belief(overlap=self.overlap, quota=self.quota, per_group=self.per_group)
        samples = tuple(s for folder in self.data for s in find_samples(folder))
        samples = without_groups(samples, self.skip or ())
        model = default_model() if self.model is None else load_model(self.model)
        show_refused(model)
        with Progress("images", quiet=self.quiet or self.json) as progress:
            believed, found = write_pseudo_labels(samples, model, self.out, belief, progress.step)
        named = {"name": model.name, "hash": model.hash}
        result = {"out": self.out, "believed": believed, "found": found}
        write_run(self.out, clock, settings=asdict(belief), model=named, results=[result])
        if self.json:
            show_json(result)
        elif not self.quiet:
            print(f"{believed:,} of {counted(found, 'cell')} believed -> {self.out}")
        return 0
