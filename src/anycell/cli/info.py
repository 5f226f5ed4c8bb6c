"""``anycell info``: what is known about an image."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anycell.cli.screen import Json, show_json, show_refused
from anycell.errors import SettingError

if TYPE_CHECKING:
    from anycell.image import Image
    from anycell.scale import ZoomPlan

__all__ = ["Info"]


@dataclass(frozen=True)
class Info:
    """Say what an image file holds: size, channels, pixel size, levels; and how it is zoomed."""

    file: Annotated[Path, typer.Argument(help="An image file.")]
    channels: Annotated[
        str | None, typer.Option(help="Channels to use, by name or number, as in DAPI,2.")
    ] = None
    axes: Annotated[str | None, typer.Option(help="What the axes of the file mean, as in CYX.")] = (
        None
    )
    plan: Annotated[
        bool, typer.Option("--plan", help="Also find the zooms that segment would use.")
    ] = False
    model: Annotated[
        str | None, typer.Option(help="The model to find them for; by default the one inside.")
    ] = None
    json: Json = False

    def run(self) -> int:
        """Open the file and print what is known."""
        from anycell.files import open_image

        image = open_image(self.file, channels=self.channels, axes=self.axes)
        facts = _facts(image)
        plan = self._plan(image)
        if self.json:
            found = {"plan": {"zoom": plan.zoom, **plan.entry()}} if plan else {}
            show_json({"file": self.file, **facts, **found})
            return 0
        print(self.file)
        levels = " · ".join(f"{rows:,} x {columns:,}" for rows, columns in facts["levels"])
        size = image.pixel_size
        print(f"  size        {facts['rows']:,} x {facts['columns']:,} pixels (rows x columns)")
        print(f"  channels    {len(image.channels)}: {', '.join(image.channels)}")
        print(f"  samples     {image.dtype}")
        print(f"  pixel size  {f'{size:g} um' if size else 'the file does not say'}")
        print(f"  levels      {levels}")
        if plan is not None:
            _show_plan(plan)
        return 0

    def _plan(self, image: Image) -> ZoomPlan | None:
        """The plan, if it is asked for."""
        if not self.plan:
            if self.model is not None:
                raise SettingError("a model without --plan", expected="both, or none of them")
            return None
        from anycell.model import DEFAULT, load_model
        from anycell.segment import plan_zoom

        model = load_model(self.model or DEFAULT)
        show_refused(model)
        return plan_zoom(image, model)


def _show_plan(plan: ZoomPlan) -> None:
    """Print the zoom of the whole, then one line per zone."""
    print(f"  zoom        {plan.zoom:.3g}: {plan.reason}")
    tried = ", ".join(f"{zoom:.3g}: {score:.2f}" for zoom, score in plan.tried)
    print(f"  tried       {tried or 'nothing'}")
    if plan.zones or plan.skipped:
        zones = max(1, len(plan.zones))
        print(f"  zones       {zones}, {plan.skipped:.0%} of the image skipped")
    for zone in plan.zones:
        y0, x0, y1, x1 = astuple(zone.region)
        how = "skipped" if zone.zoom is None else f"{zone.zoom:.3g}"
        print(f"    rows {y0}..{y1}, columns {x0}..{x1}: {how} ({zone.reason})")


def _facts(image: Image) -> dict[str, Any]:
    _, rows, columns = image.shape
    return {
        "name": image.name,
        "rows": rows,
        "columns": columns,
        "channels": list(image.channels),
        "samples": str(image.dtype),
        "pixel_size_um": image.pixel_size,
        "levels": [[level.height, level.width] for level in image.levels],
    }
