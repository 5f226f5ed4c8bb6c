"""``anycell demo``: segment images that come with the packages, and look at them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from anycell.cli.screen import Json, Progress, Quiet, counted, show_json, show_refused

__all__ = ["Demo"]


@dataclass(frozen=True)
class Demo:
    """Segment real and simulated images of every kind and write a page to look at."""

    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")] = Path("demo_out")
    model: Annotated[
        str | None,
        typer.Option(help="Name or folder of a model; by default the one in the package."),
    ] = None
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Make the folder and say where to look."""
        from anycell.demo import demo
        from anycell.model import default_model, load_model

        model = default_model() if self.model is None else load_model(self.model)
        show_refused(model)
        with Progress("images", quiet=self.quiet or self.json) as progress:
            found = demo(self.out, model, progress.step)
        page = found.page.resolve()
        if self.json:
            show_json({"page": page, "images": [asdict(row) for row in found.rows]})
        elif not self.quiet:
            cells = sum(row.cells for row in found.rows)
            images = counted(len(found.rows), "image")
            print(f"{counted(cells, 'cell')} in {images}, {found.seconds:.0f} s")
            print(f"look at {page.as_uri()}")
        return 0
