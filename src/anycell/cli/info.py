"""``anycell info``: what is known about an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anycell.cli.screen import Json, show_json

if TYPE_CHECKING:
    from anycell.image import Image

__all__ = ["Info"]


@dataclass(frozen=True)
class Info:
    """Say what an image file holds: size, channels, pixel size, levels."""

    file: Annotated[Path, typer.Argument(help="An image file.")]
    channels: Annotated[
        str | None, typer.Option(help="Channels to use, by name or number, as in DAPI,2.")
    ] = None
    axes: Annotated[str | None, typer.Option(help="What the axes of the file mean, as in CYX.")] = (
        None
    )
    json: Json = False

    def run(self) -> int:
        """Open the file and print what is known."""
        from anycell.files import open_image

        image = open_image(self.file, channels=self.channels, axes=self.axes)
        facts = _facts(image)
        if self.json:
            show_json({"file": self.file, **facts})
            return 0
        print(self.file)
        levels = " · ".join(f"{rows:,} x {columns:,}" for rows, columns in facts["levels"])
        size = image.pixel_size
        print(f"  size        {facts['rows']:,} x {facts['columns']:,} pixels (rows x columns)")
        print(f"  channels    {len(image.channels)}: {', '.join(image.channels)}")
        print(f"  samples     {image.dtype}")
        print(f"  pixel size  {f'{size:g} um' if size else 'the file does not say'}")
        print(f"  levels      {levels}")
        return 0


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
