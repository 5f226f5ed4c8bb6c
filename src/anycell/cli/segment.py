"""``anycell segment``: images in, labels out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anycell.cli.screen import FileProgress, Json, Quiet, counted, show_json, show_refused

if TYPE_CHECKING:
    from anycell.files import Opening
    from anycell.folders import FileResult, FolderSettings
    from anycell.predictor import Predictor
    from anycell.seam_check import SeamScores
    from anycell.slides import Compute

__all__ = ["Segment"]

LISTED = 10
"""Files that are named at the end of a run, where the zoom is unsure."""


@dataclass(frozen=True)
class Segment:
    """Outline every cell in images of any size.

    Each image NAME.EXT gives OUT/NAME_label.tiff: 0 is background, 1..n are cells.
    Slides, above 25 megapixels, are never whole in memory and can be resumed.
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
        str | None,
        typer.Option(help="Typical cell diameter, in pixels or as 12um; decides the zoom."),
    ] = None
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Micrometres per pixel (of the level), whatever the file says."),
    ] = None
    same_scale: Annotated[
        bool,
        typer.Option(
            "--same-scale", help="All images were taken alike: find one zoom, on some of them."
        ),
    ] = False
    min_confidence: Annotated[
        float | None, typer.Option(help="Leave out cells below this, 0 to 1.")
    ] = None
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw the outlines over the image, as PNG.")
    ] = False
    export: Annotated[
        str | None,
        typer.Option(help="Write more, as in geojson,roi,csv,coco,omezarr; or all."),
    ] = None
    recursive: Annotated[
        bool, typer.Option(help="Look into folders below; those called labels are left out.")
    ] = True
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out images that have results.")
    ] = False
    level: Annotated[int, typer.Option(help="Level of the pyramid, 0 being the finest.")] = 0
    region: Annotated[
        str | None, typer.Option(help="Only this part of the level, as y0,x0,y1,x1.")
    ] = None
    format: Annotated[str | None, typer.Option(help="tiff or ome-zarr, never whole in memory.")] = (
        None
    )
    resume: Annotated[
        bool | None,
        typer.Option("--resume/--restart", help="Go on with what was broken off, or begin anew."),
    ] = None
    shard: Annotated[
        str | None, typer.Option(help="Only share i of n, as i/n; anycell merge OUT does the rest.")
    ] = None
    cluster: Annotated[
        str | None, typer.Option(help="local, or the address of a dask scheduler.")
    ] = None
    check_seams: Annotated[
        bool, typer.Option("--check-seams", help="Also say what the tiles do to the cells.")
    ] = False
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Segment the images; 1 when any of them failed, 130 when the user broke off."""
        try:
            return self.segment()
        except KeyboardInterrupt:
            again = [word for word in sys.argv[1:] if word not in ("--resume", "--restart")]
            line = shlex.join(["anycell", *again, "--resume"])
            if self.json:
                show_json({"stopped": True, "resume": line})
            else:
                print(f"stopped; what is done is kept. To go on:\n  {line}", file=sys.stderr)
            return 130

    def segment(self) -> int:
        """Segment the images, and say what came out."""
        from anycell.cli.settings import diameters
        from anycell.exports import parse_formats
        from anycell.folders import FolderSettings, segment_files
        from anycell.image import Region
        from anycell.model import DEFAULT, identity, load_model
        from anycell.runs import keep_memory_small
        from anycell.slides import Shard
        from anycell.tasks import find_tasks

        self.check()
        keep_memory_small()
        pixels, micrometres = diameters(self.diameter)
        formats = () if self.export is None else parse_formats(self.export)
        settings = FolderSettings(
            level=self.level,
            region=None if self.region is None else Region.of(self.region),
            format=self.format,
            resume=self.resume,
            shard=None if self.shard is None else Shard.of(self.shard),
            channels=self.channels,
            axes=self.axes,
            zoom=self.zoom,
            diameter=pixels,
            diameter_um=micrometres,
            pixel_size=self.pixel_size,
            same_scale=self.same_scale,
            min_confidence=self.min_confidence,
            overlay=self.overlay,
            exports=tuple(name for name in formats if name != "labels"),
            skip_existing=self.skip_existing,
        )
        tasks = find_tasks(self.images, self.out, recursive=self.recursive)
        model = load_model(self.model or DEFAULT, precision=self.precision, runtime=self.runtime)
        show_refused(model)
        with (
            self.computing() as compute,
            FileProgress(len(tasks), quiet=self.quiet or self.json) as progress,
        ):
            results = segment_files(tasks, self.out, model, settings, progress, compute)
        failed = [result for result in results if result.status == "failed"]
        seams = self.seams(results, model, settings) if self.check_seams else {}
        if self.json:
            show_json(
                {
                    "out": self.out,
                    "model": identity(model),
                    "failed": len(failed),
                    "files": [result.entry() for result in results],
                    **({"seams": {k: asdict(v) for k, v in seams.items()}} if seams else {}),
                }
            )
        elif failed or not self.quiet:
            self.summarize(results, failed)
            for name, scores in seams.items():
                show_seams(name, scores)
        return 1 if failed else 0

    def check(self) -> None:
        """Refuse what no setting of the library knows of."""
        from anycell.errors import SettingError

        if self.check_seams and self.shard is not None:
            raise SettingError(
                "--check-seams of a shard",
                expected="one of them: the tiles of a shard are not all of an image",
                hint="--check-seams without --shard, and --region for a part",
            )

    @contextmanager
    def computing(self) -> Iterator[Callable[[Opening], Compute] | None]:
        """Connect to the cluster, if there is to be one."""
        if self.cluster is None:
            yield None
            return
        from anycell.cluster import compute_on, connected

        with connected(self.cluster) as client:
            yield partial(compute_on, client)

    def seams(
        self, results: list[FileResult], model: Predictor, settings: FolderSettings
    ) -> dict[str, SeamScores]:
        """Check the seams of each image that was segmented now."""
        from anycell.road import Asked
        from anycell.seam_check import check_seams
        from anycell.tasks import Task

        scores = {}
        for result in results:
            if result.status == "done":
                found = result.plan is not None and not self.same_scale
                asked = Asked(
                    zoom=None if found else result.zoom, min_confidence=self.min_confidence
                )
                image = settings.opening(Task(result.image, result.labels)).open()
                scores[str(result.image)] = check_seams(image, model, asked)
        return scores

    def summarize(self, results: list[FileResult], failed: list[FileResult]) -> None:
        """Print how many cells there are, where, and which files have none of it."""
        shards = [result for result in results if result.status == "shard"]
        if shards:
            images = counted(len(shards), "image")
            print(f"shard {self.shard} of {images} done; when all are: anycell merge {self.out}")
            results = [result for result in results if result.status != "shard"]
        done = [result for result in results if result.status == "done"]
        if not results:
            return
        cells = sum(result.cells or 0 for result in done)
        skipped = len(results) - len(done) - len(failed)
        parts = [f"{counted(cells, 'cell')} in {counted(len(done), 'image')} -> {self.out}"]
        parts += [f"{skipped} skipped"] if skipped else []
        parts += [f"{len(failed)} failed"] if failed else []
        print(", ".join(parts))
        for result in failed:
            print(f"  failed: {result.image}")
        unsure = [result for result in done if result.plan is not None and result.plan.unsure]
        if unsure:
            print(
                f"unsure how large the cells are in {counted(len(unsure), 'image')}; look at the"
                " outlines, or say it with --diameter:"
            )
        for result in unsure[:LISTED]:
            found = counted(result.cells or 0, "cell")
            print(f"  {result.image}: {found} at zoom {result.zoom:.3g}")
        if len(unsure) > LISTED:
            print(f"  and {len(unsure) - LISTED:,} more: those of run.json with reason unsure")


def show_seams(name: str, scores: SeamScores) -> None:
    """Print the five scores of an image."""
    at = f"rows {scores.region.y0}..{scores.region.y1}"
    at += f", columns {scores.region.x0}..{scores.region.x1}"
    print(f"seams of {name} ({at}; {scores.tiles} tiles, {counted(scores.cells, 'cell')})")
    for head, pairs in (
        ("tiled against untiled", scores.agreement),
        ("tiled against shifted tiles", scores.shift),
    ):
        told = " ".join(f"{f1:.4f} @{iou:g}" for iou, f1 in pairs)
        print(f"  F1 of {head}: {told}")
    crossing = "none to compare" if scores.crossing is None else f"{scores.crossing:+.4f}"
    over = counted(scores.crossing_cells, "cell")
    print(f"  F1 of the {over} at a line, less that of the others: {crossing}")
    print(f"  label edges on lines, over what is expected: {scores.edges:.3f}")
    print(f"  every number one connected piece: {'yes' if scores.whole else 'NO'}")
