"""The demo: real and simulated images of every kind, segmented, on one page to look at.

    out/index.html                      the page; it needs no other file and no network
    out/images/<name>.png               what was segmented
    out/<name>_label.tiff, _overlay.png what was found
    out/<name>_truth.tiff               the exact labels of a simulated image

The real ones ship inside scikit-image.  Every image is read back from its file and
takes the road of ``anycell segment``.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files as resources
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from anycell.errors import OutputError
from anycell.files import display, label_path, open_image, overlay, write_labels, write_overlay
from anycell.labels import Labels, areas
from anycell.predictor import Predictor
from anycell.runs import Clock, write_run
from anycell.scores import score_pair
from anycell.segment import segment
from anycell.simulate import MODALITIES, simulate

__all__ = ["DemoResult", "DemoRow", "demo"]

SIDE, DIAMETER = 384, 24.0

SEEDS: dict[str, int] = {
    "dic": 4,
    "phase": 6,
    "brightfield": 6,
    "quantitative_phase": 4,
    "spread_phase": 1,
    "spread_quantitative_phase": 3,
    "spread_cells": 9,
    "blood": 6,
    "histology": 8,
    "glands": 2,
    "nuclei": 7,
    "cells": 3,
    "tissue": 3,
    "bacteria_phase": 3,
    "bacteria_fluorescence": 5,
    "yeast_phase": 4,
    "yeast_brightfield": 5,
}
"""The seed of each simulated image, chosen by its looks before anything was segmented.

They lie below ``anycell.simulate.HELD_OUT``, so no model may have trained on them.
"""


@dataclass(frozen=True)
class DemoRow:
    """One image of the demo and what was found in it.

    Attributes
    ----------
    name : of its files in the output folder.
    title, modality, source : what it shows, how it was taken, where it comes from.
    cells : how many were found.
    diameter : median equivalent diameter of these, in pixels; nan without cells.
    seconds : spent to segment it.
    zoom : network pixels per image pixel, as found.
    f1 : at IoU 0.5 against the exact labels; None where there is no truth.
    true_cells : in the exact labels; None where there is no truth.
    """

    name: str
    title: str
    modality: str
    source: str
    cells: int
    diameter: float
    seconds: float
    zoom: float
    f1: float | None = None
    true_cells: int | None = None


@dataclass(frozen=True)
class DemoResult:
    """Where to look, and what is to be seen there."""

    page: Path
    rows: tuple[DemoRow, ...]
    seconds: float
    model: str


@dataclass(frozen=True)
class _Specimen:
    """An image that waits to be segmented: uint8, rows x columns (x 3)."""

    name: str
    title: str
    modality: str
    source: str
    picture: NDArray[np.uint8]
    truth: Labels | None = None


def demo(
    out: Path,
    model: Predictor | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> DemoResult:
    """Segment the images of the demo and write the page; a second run replaces the first.

    Parameters
    ----------
    out : folder, made when it does not exist.
    model : the predictor; the default model of the package if none is given.
    progress : called after each image with images done, images in all, its name.

    Raises
    ------
    OutputError : the folder cannot be made or written to.
    """
    clock = Clock()
    if model is None:
        from anycell.model import default_model

        model = default_model()
    _make_folder(out / "images")
    specimens = [*_real(), *_simulated()]
    rows, pictures = [], []
    for done, specimen in enumerate(specimens, 1):
        row, picture = _segment_one(specimen, out, model)
        rows.append(row)
        pictures.append(picture)
        if progress is not None:
            progress(done, len(specimens), specimen.name)
    page = out / "index.html"
    _write_text(page, _page(rows, pictures, model, clock.seconds))
    write_run(
        out,
        clock,
        settings={"out": out},
        model={"name": model.name, "hash": model.hash},
        results=[asdict(row) for row in rows],
    )
    return DemoResult(page, tuple(rows), clock.seconds, model.name)


def _real() -> list[_Specimen]:
    """Images that lie inside the installed scikit-image; nothing is downloaded."""
    from skimage import data

    return [
        _Specimen(
            "immunohistochemistry",
            "Colon, section with hematoxylin and DAB",
            "brightfield",
            "real: skimage.data.immunohistochemistry",
            data.immunohistochemistry(),
        ),
        _Specimen(
            "cell",
            "A single cell, optical path length",
            "phase contrast",
            "real: skimage.data.cell",
            data.cell(),
        ),
    ]


def _simulated() -> list[_Specimen]:
    """One image of each modality that can be simulated, with its exact labels."""
    found = []
    for name, seed in SEEDS.items():
        made = simulate(name, (SIDE, SIDE), diameter=DIAMETER, seed=seed)
        planes = made.image
        if len(planes) == 2:
            # A PNG holds one channel or three; two are shown in green and blue.
            planes = np.concatenate([np.zeros_like(planes[:1]), planes])
        about = MODALITIES[name]
        title = about.summary[0].upper() + about.summary[1:]
        source = f"simulated: {name}, seed {seed}"
        picture = planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, -1)
        found.append(_Specimen(name, title, about.kind, source, picture, made.labels))
    return found


def _segment_one(
    specimen: _Specimen, out: Path, model: Predictor
) -> tuple[DemoRow, tuple[str, str]]:
    """Segment one image, write its files, and give its row and its two pictures as data URIs."""
    path = out / "images" / f"{specimen.name}.png"
    _write_bytes(path, _png(specimen.picture))
    image = open_image(path)
    found = segment(image, model)
    write_labels(found.labels, label_path(out, path))
    shown = display(image)
    write_overlay(shown, found.labels, out / f"{specimen.name}_overlay.png")
    sizes = np.sqrt(4 / np.pi * areas(found.labels)[1:])
    f1 = cells = None
    if specimen.truth is not None:
        write_labels(specimen.truth, out / f"{specimen.name}_truth.tiff")
        f1 = score_pair(found.labels, specimen.truth)[0].values.f1
        cells = int(specimen.truth.max(initial=0))
    row = DemoRow(
        name=specimen.name,
        title=specimen.title,
        modality=specimen.modality,
        source=specimen.source,
        cells=sizes.size,
        diameter=float(np.median(sizes)) if sizes.size else float("nan"),
        seconds=found.seconds["total"],
        zoom=found.zoom,
        f1=f1,
        true_cells=cells,
    )
    return row, (_data_uri(shown), _data_uri(overlay(shown, found.labels)))


def _page(
    rows: list[DemoRow], pictures: list[tuple[str, str]], model: Predictor, seconds: float
) -> str:
    """Fill the page's template."""
    from anycell import __version__

    template = Template(resources("anycell").joinpath("demo.html").read_text(encoding="utf-8"))
    judged = [row.f1 for row in rows if row.f1 is not None]
    return template.substitute(
        version=__version__,
        model=escape(f"{model.name} ({model.hash})"),
        images=len(rows),
        real=len(rows) - len(judged),
        cells=f"{sum(row.cells for row in rows):,}",
        seconds=f"{seconds:.0f}",
        f1=f"{np.mean(judged):.2f}",
        rows="\n".join(
            _row_html(row, plain, outlined)
            for row, (plain, outlined) in zip(rows, pictures, strict=True)
        ),
    )


def _row_html(row: DemoRow, plain: str, outlined: str) -> str:
    """One image of the page: two pictures and what is known of them."""
    name, title = escape(row.name), escape(row.title)
    facts = {
        "cells": f"{row.cells:,}",
        "median diameter": "-" if np.isnan(row.diameter) else f"{row.diameter:.1f} px",
        "seconds": f"{row.seconds:.2f}",
    }
    if row.zoom != 1:
        facts["zoom"] = f"{row.zoom:.2g}"
    if row.f1 is not None:
        facts["true cells"] = f"{row.true_cells:,}"
        facts["F1 at IoU 0.5"] = f"{row.f1:.3f}"
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in facts.items())
    links = " · ".join(
        f'<a href="{escape(link)}">{what}</a>'
        for what, link in (
            ("image", f"images/{row.name}.png"),
            ("labels", label_path(Path(), Path(f"{row.name}.png")).as_posix()),
            ("overlay", f"{row.name}_overlay.png"),
        )
    )
    return f"""<article id="{name}">
  <img class="plain" src="{plain}" alt="{title}" loading="lazy">
  <button type="button" aria-pressed="true" title="outlines on or off">
    <img class="plain" src="{plain}" alt="{title}">
    <img class="outlined" src="{outlined}" alt="{title}, cells outlined">
  </button>
  <div class="facts">
    <h2>{title}</h2>
    <p class="kind">{escape(row.modality)}</p>
    <dl>{listed}</dl>
    <p class="source">{escape(row.source)}</p>
    <p class="links">{links}</p>
  </div>
</article>"""


def _data_uri(picture: NDArray[np.uint8]) -> str:
    """A picture as part of a page: JPEG, which every browser knows, at high quality."""
    from imagecodecs import jpeg8_encode

    return "data:image/jpeg;base64," + b64encode(jpeg8_encode(picture, level=90)).decode()


def _png(picture: NDArray[np.uint8]) -> bytes:
    from imagecodecs import png_encode

    return bytes(png_encode(np.ascontiguousarray(picture), level=6))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made: {error.strerror}",
            expected="a folder that may be written to",
            hint="-o ANOTHER_FOLDER",
        ) from error


def _write_text(path: Path, text: str) -> None:
    _write_bytes(path, text.encode())


def _write_bytes(path: Path, data: bytes) -> None:
    from anycell.files.damage import replacing

    with replacing(path) as draft:
        draft.write_bytes(data)
