"""``anycell evaluate``: predictions against truth."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anycell.cli.screen import Json, Progress, Quiet, show_json, show_table
from anycell.runs import Clock, write_run

if TYPE_CHECKING:
    from anycell.evaluate import Evaluation

__all__ = ["Evaluate"]


@dataclass(frozen=True)
class Evaluate:
    """Score predicted labels against true ones.

    The prediction of TRUTH/GROUP/labels/NAME.png is PREDICTIONS/GROUP/NAME_label.tiff;
    a missing one counts as misses.
    """

    predictions: Annotated[Path, typer.Argument(help="Folder that segment wrote.")]
    truth: Annotated[Path, typer.Argument(help="Folder of true labels, or a manifest.csv.")]
    rules: Annotated[str, typer.Option(help="How cells are compared.")] = "neurips2022"
    use: Annotated[str | None, typer.Option(help="Rows of the manifest, by its column use.")] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for scores.csv and scores.json.")
    ] = None
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Score, print the table, and write it where it was asked for."""
        from anycell.evaluate import evaluate
        from anycell.matching import rules_named

        clock = Clock()
        rules = rules_named(self.rules)
        with Progress("images", quiet=self.quiet or self.json) as progress:
            found = evaluate(
                self.predictions, self.truth, rules, use=self.use, progress=progress.step
            )
        if self.out is not None:
            settings = {
                "predictions": self.predictions,
                "truth": self.truth,
                "use": self.use,
                "rules": asdict(rules),
            }
            write_run(self.out, clock, settings=settings)
            found.to_csv(self.out / "scores.csv")
            found.to_json(self.out / "scores.json")
        if self.json:
            show_json(
                {
                    "rules": {"name": self.rules, **asdict(rules)},
                    "missing": found.missing,
                    "unused": found.unused,
                    "scores": found.table(),
                }
            )
        elif not self.quiet:
            self.show(found)
        return 0

    def show(self, found: Evaluation) -> None:
        """Print the table, and what was missing beside it."""
        rows = found.table()
        heads = list(rows[0])
        show_table(heads, [[_text(row[head]) for head in heads] for row in rows])
        for name in found.missing:
            print(f"missing, counted as misses: {name}", file=sys.stderr)
        for path in found.unused:
            print(f"not asked for by any truth: {path}", file=sys.stderr)
        if self.out is not None:
            print(f"-> {self.out / 'scores.csv'}, {self.out / 'scores.json'}")


def _text(value: str | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
