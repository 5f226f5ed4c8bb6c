"""The report as Markdown, with its figures as PNG files beside it."""

from __future__ import annotations

from collections.abc import Mapping

from anycell.report.findings import Findings
from anycell.report.made import how, notes, overview
from anycell.report.tables import Table, heat_table, ranking_table, seam_table
from anycell.report.words import Card

__all__ = ["markdown"]


def markdown(found: Findings, figures: Mapping[str, str], cards: list[Card]) -> str:
    """Write the report.

    Parameters
    ----------
    figures : path of a PNG, as seen from the report -> caption.
    """
    parts = ["# Comparison", overview(found), "## Ranking", *_table(ranking_table(found))]
    parts += ["## Groups and modalities", *_table(heat_table(found))]
    seams = seam_table(found)
    if seams:
        parts += ["## Seams", *_table(seams)]
    parts += ["## Figures"]
    parts += [f"![{caption}]({path})\n\n*{caption}*" for path, caption in figures.items()]
    parts += ["## Contenders", *(_card(card) for card in cards)]
    if found.comparison.failed:
        lines = [
            f"- {result.entry.contender}: {result.error}" for result in found.comparison.failed
        ]
        parts += ["## Failed", "\n".join(lines)]
    parts += ["## How it was made"]
    parts += ["\n".join(f"- {what}: {value}" for what, value in how(found.comparison))]
    parts += ["\n".join(f"- {note}" for note in notes(found))]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> list[str]:
    lines = [
        "| " + " | ".join(table.heads) + " |",
        "|" + "---|" * len(table.heads),
        *("| " + " | ".join(cell.text for cell in row) + " |" for row in table.rows),
    ]
    return ["\n".join(lines)]


def _card(card: Card) -> str:
    lines = [f"### {card.name}"]
    if card.idea:
        lines.append(f"{card.idea} ({card.reference}).")
    lines += [
        card.place,
        f"Strengths: {'; '.join(card.strengths) or 'none measured'}.",
        f"Weaknesses: {'; '.join(card.weaknesses) or 'none measured'}.",
        ", ".join(f"{what} {value}" for what, value in card.facts),
    ]
    return "\n\n".join(line for line in lines if line)
