"""Reports: a comparison as one page of HTML, and as Markdown with figures.

OUT/index.html              the page; works without a network
OUT/report.md, figures/     the same without crops
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from anycell.compare import Comparison, read_comparison
from anycell.errors import SettingError
from anycell.files.damage import replacing
from anycell.report.findings import Findings
from anycell.report.gallery import crops
from anycell.report.markdown import markdown
from anycell.report.page import page
from anycell.report.plots import draw_figures
from anycell.report.words import card
from anycell.runs import make_folder

__all__ = ["need_plots", "write_report"]

QUALITIES = (82, 60, 35)
LARGEST_PAGE = 5_000_000
"""Bytes; crops are stored at a lower quality, then left out, to stay below it."""


def write_report(folder: Path, comparison: Comparison | None = None) -> Path:
    """Write the report of a comparison beside it, and give the path of the page.

    Parameters
    ----------
    folder : that ``anycell compare`` wrote.
    comparison : what is in its comparison.json; read when not given.

    Raises
    ------
    InputError, FormatError : no comparison, or a damaged one.
    SettingError : matplotlib is not installed.
    OutputError : the files cannot be written.
    """
    need_plots()
    made = read_comparison(folder) if comparison is None else comparison
    found = Findings.of(made, folder)
    figures = draw_figures(found) if found.ranked else {}
    cards = [card(found, one) for one in found.ranked]
    pictures = folder / "figures"
    make_folder(pictures)
    for name, (_, png) in figures.items():
        with replacing(pictures / f"{name}.png") as draft:
            draft.write_bytes(png)
    captions = {f"figures/{name}.png": caption for name, (caption, _) in figures.items()}
    _write(folder / "report.md", markdown(found, captions, cards))
    text = page(found, figures, cards, {})
    for quality in QUALITIES:
        gallery = {one.name: crops(found, one, quality) for one in found.ranked}
        full = page(found, figures, cards, gallery)
        if len(full.encode()) <= LARGEST_PAGE:
            text = full
            break
    _write(folder / "index.html", text)
    return folder / "index.html"


def need_plots() -> None:
    """Say what to install when figures cannot be drawn.

    Raises
    ------
    SettingError : matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise SettingError(
            "a report needs matplotlib, which is not installed",
            expected="the packages of the extra 'train'",
            hint="pip install 'anycell[train]'",
        )


def _write(path: Path, text: str) -> None:
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
