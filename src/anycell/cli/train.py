"""``anycell train``: labeled images in, a model out."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anycell.cli.screen import Json, Quiet, show_json
from anycell.cli.settings import factors, recipe_settings, seconds
from anycell.errors import SettingError
from anycell.runs import Clock, write_run

if TYPE_CHECKING:
    from anycell.methods import Recipe

__all__ = ["Train"]


@dataclass(frozen=True)
class Train:
    """Train a method on labeled images, or go on training where OUT was left.

    DATA holds GROUP/images/NAME.* and GROUP/labels/NAME.*, or a manifest.csv.
    """

    data: Annotated[list[Path], typer.Argument(help="Folders of images and labels.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints and model.")]
    method: Annotated[str, typer.Option(help="What to train; see anycell methods.")] = "votes"
    learning: Annotated[
        str | None,
        typer.Option(help="supervised, mean-teacher or parity: what unlabeled images are for."),
    ] = None
    labels: Annotated[
        float, typer.Option(help="Share of the training images whose labels are used.")
    ] = 1.0
    skip: Annotated[
        list[str] | None, typer.Option(help="A group to leave out; may be given again.")
    ] = None
    share: Annotated[
        list[str] | None,
        typer.Option(help="GROUP=2 draws from it twice as often; may be given again."),
    ] = None
    weights: Annotated[
        Path | None,
        typer.Option(help="A model to begin with, as general or RUN/best; else random weights."),
    ] = None
    steps: Annotated[int | None, typer.Option(help="Batches in all.")] = None
    seed: Annotated[int | None, typer.Option(help="Of weights, crops and augmentation.")] = None
    recipe: Annotated[
        list[str] | None, typer.Option(help="A setting of the recipe, as in rate=0.001.")
    ] = None
    validate_every: Annotated[int, typer.Option(help="Steps between validations.")] = 1000
    workers: Annotated[int, typer.Option(help="Processes that make crops.")] = 1
    threads: Annotated[int, typer.Option(help="Of the network; 0 for one per core.")] = 0
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto"
    stop_after: Annotated[
        float | None, typer.Option(help="Seconds after which to stop, to go on later.")
    ] = None
    within: Annotated[
        str | None,
        typer.Option(help="Be finished within this time, as 90s, 45m or 2h, steps done or not."),
    ] = None
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Train, and note in run.json how."""
        clock = Clock()
        try:
            from anycell.train import TrainPlan, train
        except ModuleNotFoundError as error:
            raise SettingError(
                f"training needs {error.name}, which is not installed",
                expected="the packages of the extra 'train'",
                hint="pip install 'anycell[train]'",
            ) from error
        plan = TrainPlan(
            data=tuple(self.data),
            out=self.out,
            method=self.method,
            learning=self.learning,
            labels=self.labels,
            skip=tuple(self.skip or ()),
            shares=factors(self.share or []),
            weights=self.weights,
            recipe=self._recipe(),
            validate_every=self.validate_every,
            workers=self.workers,
            threads=self.threads,
            device=self.device,
            stop_after=self.stop_after,
            within=seconds(self.within),
        )
        # Stopped by Ctrl-C, or by kill where it runs in the background: it saves and ends.
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, signal.default_int_handler)
        found = train(plan, self._report)
        write_run(self.out, clock, settings=asdict(plan), results=[asdict(found)])
        if self.json:
            show_json(asdict(found))
        elif not self.quiet:
            print(f"step {found.step} of {found.steps}")
            if found.best >= 0.0:
                print(f"best F1@0.5 {found.best:.4f}")
                print(f"-> {found.folder}; anycell segment --model {found.folder} uses it")
            else:
                print("not validated yet: there is no model; the same command goes on")
        return 0

    def _recipe(self) -> Recipe:
        """The method's own recipe with what was asked for instead."""
        from anycell.methods import method

        recipe = method(self.method).recipe
        asked = recipe_settings(recipe, self.recipe or [])
        if self.steps is not None:
            asked["steps"] = self.steps
        if self.seed is not None:
            asked["seed"] = self.seed
        return recipe.changed(asked)

    def _report(self, line: str) -> None:
        if not (self.quiet or self.json):
            print(line, file=sys.stderr, flush=True)
