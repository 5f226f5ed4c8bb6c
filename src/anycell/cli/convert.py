"""``anycell convert``: labels of any kind into any other."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from anycell.cli.screen import Json, Progress, Quiet, counted, show_json
from anycell.runs import Clock, write_run

__all__ = ["Convert"]


@dataclass(frozen=True)
class Convert:
    """Turn labels into files for other programs, or files of theirs into labels.

    Reads what anycell segment writes, _seg.npy, GeoJSON, COCO, ROIs and folders of masks.
    """

    labels: Annotated[list[Path], typer.Argument(help="Label files, or folders of them.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")]
    to: Annotated[
        str,
        typer.Option(help="labels, geojson, roi, csv, coco, omezarr, omezarr04, overlay; or all."),
    ] = "labels"
    image: Annotated[
        Path | None,
        typer.Option(help="The image of the labels, or a folder with one for each."),
    ] = None
    axes: Annotated[str | None, typer.Option(help="What the axes of the image mean, as CYX.")] = (
        None
    )
    overlaps: Annotated[
        Literal["refuse", "first", "last"],
        typer.Option(help="Pixels of two cells: an error, or to the first or last in the file."),
    ] = "refuse"
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Convert; 1 when any of the files failed."""
        from anycell.convert import ConvertSettings, convert_files, find_sources
        from anycell.exports import parse_formats

        clock = Clock()
        settings = ConvertSettings(
            formats=parse_formats(self.to, has_image=self.image is not None),
            image=self.image,
            overlaps=self.overlaps,
            axes=self.axes,
        )
        sources = find_sources(self.labels, self.out, settings.formats)
        with Progress("files", total=len(sources), quiet=self.quiet or self.json) as progress:
            results = convert_files(sources, self.out, settings, progress.step)
        entries = [result.entry() for result in results]
        write_run(self.out, clock, settings=asdict(settings), results=entries)
        failed = [result for result in results if result.error is not None]
        if self.json:
            show_json({"out": self.out, "failed": len(failed), "files": entries})
            return 1 if failed else 0
        for result in failed:
            print(f"failed: {result.error}", file=sys.stderr)
        if not self.quiet:
            cells = sum(result.cells or 0 for result in results)
            done = counted(len(results) - len(failed), "file")
            print(f"{counted(cells, 'cell')} of {done} -> {self.out} ({self.to})")
        return 1 if failed else 0
