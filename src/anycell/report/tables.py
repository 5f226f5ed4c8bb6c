"""Tables of a report: rows of text with the number that each is sorted by."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from anycell.compare import Interval
from anycell.report.findings import Findings
from anycell.report.words import amount, duration, memory

__all__ = ["Cell", "Table", "heat_table", "ranking_table", "seam_table"]

SEAMS = "seams.csv"


@dataclass(frozen=True)
class Cell:
    """What is shown, what it is sorted by, and how warm its background is, 0 .. 1."""

    text: str
    key: float | None = None
    heat: float | None = None


@dataclass(frozen=True)
class Table:
    """Heads, and rows of as many cells."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def ranking_table(found: Findings) -> Table:
    """Contenders in order, with scores and costs."""
    low, high = f"{found.iou[0]:g}", f"{found.iou[-1]:g}"
    heads = (
        "rank", "contender", f"F1@{low}", "95 % interval", "behind the best", f"F1@{low}:{high}",
        f"AP@{low}", f"PQ@{low}", "s/MP", "memory", "parameters", "training", "seeds",
    )  # fmt: skip
    rows = []
    for rank, one in enumerate(found.ranked, 1):
        cost = one.cost
        spread = "" if one.seeds is None else f" ± {one.seeds:.3f}"
        rows.append(
            (
                Cell(str(rank), rank),
                Cell(one.name),
                _score(one.f1.value),
                Cell(f"{one.f1.low:.3f} to {one.f1.high:.3f}", one.f1.low),
                _behind(one.behind),
                _score(one.span),
                _score(found.mean(one, "ap")),
                _score(found.mean(one, "pq")),
                _number(cost.seconds_per_mp, ".2f"),
                Cell(memory(cost.peak_memory) or "-", cost.peak_memory),
                Cell(amount(cost.parameters) or "-", cost.parameters),
                Cell(duration(cost.train_seconds) or "-", cost.train_seconds),
                Cell(f"{len(one.results)}{spread}", len(one.results)),
            )
        )
    return Table(heads, tuple(rows))


def heat_table(found: Findings) -> Table:
    """F1 of each contender on each group and modality."""
    groups, modalities = sorted(set(found.groups)), sorted(set(found.modalities) - {""})
    counts = [found.groups.count(v) for v in groups]
    counts += [found.modalities.count(v) for v in modalities]
    names = [f"{v} ({n})" for v, n in zip([*groups, *modalities], counts, strict=True)]
    rows = []
    for one in found.ranked:
        values = [*(found.by_group(one)[v] for v in groups)]
        values += [found.by_modality(one)[v] for v in modalities]
        rows.append((Cell(one.name), *(Cell(f"{v:.2f}", v, v) for v in values)))
    return Table(("contender", *names), tuple(rows))


def seam_table(found: Findings) -> Table | None:
    """Seam scores, where a seams.csv lies beside the comparison; shown as it is."""
    path = found.folder / SEAMS
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        heads, *rows = list(csv.reader(file))
    return Table(tuple(heads), tuple(tuple(_cell(text) for text in row) for row in rows))


def _cell(text: str) -> Cell:
    try:
        return Cell(text, float(text))
    except ValueError:
        return Cell(text)


def _score(value: float) -> Cell:
    return Cell(f"{value:.3f}", value)


def _number(value: float | None, form: str) -> Cell:
    return Cell("-" if value is None else format(value, form), value)


def _behind(gap: Interval | None) -> Cell:
    if gap is None:
        return Cell("-", 0.0)
    value, low, high = (round(v, 3) + 0.0 for v in (gap.value, gap.low, gap.high))
    return Cell(f"{value:.3f} ({low:.3f} to {high:.3f})", gap.value)
