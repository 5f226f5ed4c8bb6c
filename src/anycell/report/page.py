"""The report as one page of HTML: nothing outside of it is needed, no network, no other file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files as resources
from string import Template

from anycell.report.findings import Findings
from anycell.report.gallery import Crop
from anycell.report.made import how, notes, overview
from anycell.report.tables import Cell, Table, heat_table, ranking_table, seam_table
from anycell.report.words import Card

__all__ = ["page"]

Gallery = tuple[list[Crop], str]


def page(
    found: Findings,
    figures: Mapping[str, tuple[str, bytes]],
    cards: list[Card],
    gallery: Mapping[str, Gallery],
) -> str:
    """Fill the template.

    Parameters
    ----------
    figures : name -> caption and PNG.
    gallery : contender -> its crops, and why there are none.
    """
    template = Template(resources("anycell.report").joinpath("page.html").read_text("utf-8"))
    seams = seam_table(found)
    return template.substitute(
        overview=escape(overview(found)),
        sums=_sums(found),
        ranking=_table(ranking_table(found), "ranking"),
        groups=_table(heat_table(found), "heat"),
        figures="\n".join(
            _figure(*figure) for name, figure in figures.items() if name != "heatmap"
        ),
        seams=f"<h2>Seams</h2>{_table(seams, 'seams')}" if seams else "",
        cards="\n".join(_card(card, gallery.get(card.name, ([], ""))) for card in cards),
        failed=_failed(found),
        how="".join(
            f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>"
            for what, value in how(found.comparison)
        ),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes(found)),
    )


def _sums(found: Findings) -> str:
    cells = sum(v.scores[0].true for v in found.comparison.good[0].images) if found.ranked else 0
    sums = {
        "contenders": len(found.ranked),
        "images": len(found.groups),
        "groups": len(set(found.groups)),
        "true cells": f"{cells:,}",
    }
    return "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in sums.items())


def _table(table: Table, kind: str) -> str:
    heads = "".join(
        f'<th><button type="button">{escape(head)}</button></th>' for head in table.heads
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    key = "" if cell.key is None else f' data-key="{cell.key:.10g}"'
    heat = "" if cell.heat is None else f' style="--heat:{100 * cell.heat:.0f}%"'
    number = ' class="number"' if cell.key is not None or cell.text == "-" else ""
    return f"<td{number}{key}{heat}>{escape(cell.text)}</td>"


def _figure(caption: str, png: bytes) -> str:
    uri = "data:image/png;base64," + b64encode(png).decode()
    text = escape(caption)
    return f'<figure><img src="{uri}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _card(card: Card, gallery: Gallery) -> str:
    crops, why = gallery
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in card.facts)
    lists = "".join(
        f"<div><h4>{title}</h4><ul>{''.join(f'<li>{escape(v)}</li>' for v in said)}</ul></div>"
        for title, said in (("Strengths", card.strengths), ("Weaknesses", card.weaknesses))
        if said
    )
    shown = "".join(map(_crop, crops)) or (f'<p class="soft">{escape(why)}</p>' if why else "")
    idea = f"<p>{escape(card.idea)}.</p>" if card.idea else ""
    return f"""<article>
<h3>{escape(card.name)}</h3>
{idea}<p class="soft">{escape(card.reference)}</p>
<p>{escape(card.place)}</p>
<div class="lists">{lists}</div>
<dl class="facts">{facts}</dl>
<div class="crops">{shown}</div>
</article>"""


def _crop(crop: Crop) -> str:
    name = escape(f"{crop.image.group}/{crop.image.name}")
    text = f"{crop.role}: F1 {crop.f1:.2f}"
    return (
        f'<figure><img src="{crop.uri}" alt="{text}, {name}" loading="lazy">'
        f"<figcaption>{text}<br><small>{name}</small></figcaption></figure>"
    )


def _failed(found: Findings) -> str:
    failed = found.comparison.failed
    if not failed:
        return ""
    items = "".join(
        f"<li><b>{escape(v.entry.contender)}</b><pre>{escape(v.error)}</pre></li>" for v in failed
    )
    return f'<h2>Failed</h2><ul class="failed">{items}</ul>'
