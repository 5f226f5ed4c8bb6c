"""``anycell segment``: images in, labels out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anycell.cli.screen import FileProgress, Json, Quiet, counted, show_json

if TYPE_CHECKING:
    from anycell.folders import FileResult

__all__ = ["Segment"]


@dataclass(frozen=True)
class Segment:
    """Outline every cell in images of any size.

    Each image NAME.EXT gives OUT/NAME_label.tiff: 0 is background, 1..n are cells.
    """

    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of images.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")]
    model: Annotated[
        str | None,
        typer.Option(help="Name or folder of a model; by default the one in the package."),
    ] = None
    precision: Annotated[
        str, typer.Option(help="fp32, int8 where the model has it, or auto: what it ships.")
    ] = "auto"
    runtime: Annotated[
        str, typer.Option(help="onnxruntime, openvino where it is installed, or auto.")
    ] = "auto"
    channels: Annotated[
        str | None, typer.Option(help="Channels to use, by name or number, as in DAPI,2.")
    ] = None
    axes: Annotated[str | None, typer.Option(help="What the axes of the file mean, as in CYX.")] = (
        None
    )
    zoom: Annotated[
        float | None, typer.Option(help="Resize by this, as in 0.5, not by what is found.")
    ] = None
    diameter: Annotated[
        float | None, typer.Option(help="Typical cell diameter in pixels; decides the zoom.")
    ] = None
    min_confidence: Annotated[
        float | None, typer.Option(help="Leave out cells below this, 0 to 1.")
    ] = None
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw the outlines over the image, as PNG.")
    ] = False
    recursive: Annotated[
        bool, typer.Option(help="Look into folders below; those called labels are left out.")
    ] = True
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out images that have results.")
    ] = False
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Segment the images; 1 when any of them failed."""
        from anycell.folders import FolderSettings, find_tasks, segment_files
        from anycell.model import DEFAULT, identity, load_model

        settings = FolderSettings(
            channels=self.channels,
            axes=self.axes,
            zoom=self.zoom,
            diameter=self.diameter,
            min_confidence=self.min_confidence,
            overlay=self.overlay,
            skip_existing=self.skip_existing,
        )
        tasks = find_tasks(self.images, self.out, recursive=self.recursive)
        model = load_model(self.model or DEFAULT, precision=self.precision, runtime=self.runtime)
        with FileProgress(len(tasks), quiet=self.quiet or self.json) as progress:
            results = segment_files(tasks, self.out, model, settings, progress)
        failed = [result for result in results if result.status == "failed"]
        if self.json:
            show_json(
                {
                    "out": self.out,
                    "model": identity(model),
                    "failed": len(failed),
                    "files": [result.entry() for result in results],
                }
            )
        elif failed or not self.quiet:
            self.summarize(results, failed)
        return 1 if failed else 0

    def summarize(self, results: list[FileResult], failed: list[FileResult]) -> None:
        """Print how many cells there are, where, and which files have none of it."""
        done = [result for result in results if result.status == "done"]
        cells = sum(result.cells or 0 for result in done)
        skipped = len(results) - len(done) - len(failed)
        parts = [f"{counted(cells, 'cell')} in {counted(len(done), 'image')} -> {self.out}"]
        parts += [f"{skipped} skipped"] if skipped else []
        parts += [f"{len(failed)} failed"] if failed else []
        print(", ".join(parts))
        for result in failed:
            print(f"  failed: {result.image}")
