"""``anycell compare``: several methods on the same images, in one table."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anycell.cli.screen import Json, Progress, Quiet, counted, show_json, show_table
from anycell.cli.settings import listed, named, numbers, recipe_settings
from anycell.runs import Clock, write_run

if TYPE_CHECKING:
    from anycell.compare import ComparePlan, Comparison, Standing

__all__ = ["Compare"]


@dataclass(frozen=True)
class Compare:
    """Compare methods, models and other tools on the held-out images of DATA.

    Methods are trained with an equal budget, each with every seed. The same command again
    goes on where OUT was left.
    """

    data: Annotated[list[Path], typer.Argument(help="Folders of images and labels.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything.")]
    methods: Annotated[
        str | None, typer.Option(help="To train, as in votes,flows; see anycell methods.")
    ] = None
    models: Annotated[
        str | None, typer.Option(help="Names or folders of models, as in general,NAME=RUN/best.")
    ] = None
    predictions: Annotated[
        list[str] | None, typer.Option(help="NAME=DIR: label files of another tool.")
    ] = None
    budget: Annotated[int, typer.Option(help="Steps of each training.")] = 2000
    crops: Annotated[int | None, typer.Option(help="Crops in a step.")] = None
    seeds: Annotated[int, typer.Option(help="Trainings of each method.")] = 1
    recipe: Annotated[
        list[str] | None, typer.Option(help="Settings for all methods, as in side=128,rate=0.001.")
    ] = None
    label_share: Annotated[
        str, typer.Option(help="Per cent of the labels to learn from, as in 5,10,25,100.")
    ] = "100"
    learning: Annotated[
        str | None,
        typer.Option(help="As in supervised,parity: each method by each; else its own."),
    ] = None
    zoom_scheme: Annotated[
        str, typer.Option(help="plan, diameter or none; several as in none,diameter,plan.")
    ] = "plan"
    validate_every: Annotated[
        int, typer.Option(help="Steps between validations; 0: a fifth of the budget.")
    ] = 0
    workers: Annotated[int, typer.Option(help="Processes that make crops.")] = 1
    threads: Annotated[int, typer.Option(help="Of the networks; 0: one per core.")] = 0
    device: Annotated[str, typer.Option(help="To train on: auto, cpu or cuda.")] = "auto"
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Compare; 1 when an entry failed."""
        from anycell.compare import Watch, compare, standings
        from anycell.report import need_plots, write_report

        need_plots()
        clock = Clock()
        plan = self._plan()
        with Progress("images", quiet=self.quiet or self.json) as progress:
            made = compare(plan, Watch(self._line, progress.step))
        settings = {k: v for k, v in asdict(plan).items() if k != "rules"}
        results = [{"entry": asdict(v.entry), "error": v.error} for v in made.results]
        write_run(self.out, clock, settings=settings, results=results)
        page = write_report(self.out, made)
        ranked = standings(made)
        if self.json:
            show_json({"page": page, "ranking": [_row(v) for v in ranked], **_failures(made)})
        elif not self.quiet:
            self._show(made, ranked)
        return 1 if made.failed else 0

    def _plan(self) -> ComparePlan:
        from anycell.compare import ComparePlan, short_name
        from anycell.methods import Recipe

        asked = recipe_settings(Recipe(), self.recipe or [])
        if self.crops is not None:
            asked["crops"] = self.crops
        return ComparePlan(
            data=tuple(self.data),
            out=self.out,
            methods=tuple(listed(self.methods)),
            models=tuple(named(text, short_name(text)) for text in listed(self.models)),
            predictions=tuple(
                (name, Path(folder)) for name, folder in map(named, self.predictions or [])
            ),
            budget=self.budget,
            seeds=self.seeds,
            shares=tuple(share / 100 for share in numbers("label share", self.label_share)),
            learning=tuple(listed(self.learning)),
            recipe=asked,
            zoom_schemes=tuple(listed(self.zoom_scheme)),
            validate_every=self.validate_every,
            workers=self.workers,
            threads=self.threads,
            device=self.device,
        )

    def _line(self, text: str) -> None:
        if not (self.quiet or self.json):
            print(text, file=sys.stderr, flush=True)

    def _show(self, made: Comparison, ranked: list[Standing]) -> None:
        rows = [_row(one) for one in ranked]
        if rows:
            heads = list(rows[0])
            show_table(heads, [[_text(row[head]) for head in heads] for row in rows])
        groups = len({image.group for image in made.images})
        images = counted(len(made.images), "held-out image")
        print(f"{images} of {counted(groups, 'group')} -> {self.out / 'index.html'}")
        for result in made.failed:
            print(f"  failed: {result.entry.contender}: {result.error}", file=sys.stderr)


def _row(one: Standing) -> dict[str, str | float | int | None]:
    low = one.results[0].images[0].scores[0].iou
    cost = one.cost
    return {
        "contender": one.name,
        "seeds": len(one.results),
        f"F1@{low:g}": one.f1.value,
        "low": one.f1.low,
        "high": one.f1.high,
        "behind": None if one.behind is None else one.behind.value,
        "behind low": None if one.behind is None else one.behind.low,
        "behind high": None if one.behind is None else one.behind.high,
        "F1 all IoU": one.span,
        "s/MP": cost.seconds_per_mp,
        "GB": None if cost.peak_memory is None else cost.peak_memory / 1e9,
        "parameters": cost.parameters,
        "training s": cost.train_seconds,
    }


def _failures(made: Comparison) -> dict[str, object]:
    return {"failed": {result.entry.slug: result.error for result in made.failed}}


def _text(value: str | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
