"""Cards: what each contender is, costs, and is good and bad at, told from the numbers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anycell.compare import Cost, Standing
from anycell.methods import METHODS
from anycell.report.findings import Findings

__all__ = ["Card", "amount", "card", "duration", "memory"]

LISTED = 3
NOTABLE = 1.15
"""Times the least of a cost from which on it is worth a sentence."""
CLEAR = 0.02
"""Difference between two shares that is worth a sentence."""


@dataclass(frozen=True)
class Card:
    """A contender in words.

    Attributes
    ----------
    idea, reference : from the table of methods; of other tools nothing is known.
    facts : pairs of what and how much.
    place : where it stands, in a sentence or two.
    strengths, weaknesses : as measured.
    """

    name: str
    idea: str
    reference: str
    facts: tuple[tuple[str, str], ...]
    place: str
    strengths: tuple[str, ...]
    weaknesses: tuple[str, ...]


def card(found: Findings, one: Standing) -> Card:
    """Write the card of a contender."""
    made = METHODS.get(one.entry.method)
    idea = made.summary if made else ""
    strengths, weaknesses = _groups(found, one)
    for better, worse in (_detection(found, one), _costs(found, one)):
        strengths += better
        weaknesses += worse
    return Card(
        name=one.name,
        idea=idea[:1].upper() + idea[1:],
        reference=made.reference if made else "label files of another tool",
        facts=tuple(_facts(one)),
        place=_place(found, one),
        strengths=tuple(strengths),
        weaknesses=tuple(weaknesses),
    )


def _place(found: Findings, one: Standing) -> str:
    """Rank, F1 and its interval, and how far behind the best."""
    rank = found.ranked.index(one) + 1
    low = f"F1@{found.iou[0]:g}"
    text = (
        f"Rank {rank} of {len(found.ranked)}: {low} {one.f1.value:.3f}"
        f" (95 % interval {one.f1.low:.3f} to {one.f1.high:.3f})."
    )
    if one.behind is not None:
        gap = one.behind
        value, low_gap, high_gap = (_plain(-v) for v in (gap.value, gap.high, gap.low))
        text += f" {value:.3f} behind {found.ranked[0].name} ({low_gap:.3f} to {high_gap:.3f})"
        within = gap.low <= 0 <= gap.high
        text += ", which these images do not tell from nothing." if within else "."
    if one.seeds is not None:
        text += f" Over {len(one.results)} seeds it varies by {one.seeds:.3f}"
        text += " (standard deviation)."
    return text


def _plain(value: float) -> float:
    """Three digits, without the minus sign of a zero."""
    return round(value, 3) + 0.0


def _groups(found: Findings, one: Standing) -> tuple[list[str], list[str]]:
    """Where it is at its best and at its worst, and where it leads and trails."""
    own = found.by_group(one)
    order = sorted(own, key=lambda k: -own[k])
    strong, weak = [], []
    if len(order) > 1:
        strong.append(f"best on {order[0]} ({own[order[0]]:.2f})")
        weak.append(f"worst on {order[-1]} ({own[order[-1]]:.2f})")
    others = [found.by_group(v) for v in found.ranked if v is not one]
    if others:
        first = [k for k in order if own[k] > max(v[k] for v in others)]
        last = [k for k in order if own[k] < min(v[k] for v in others)]
        if first:
            strong.append(f"ahead of all others on {_some(first, len(order))}")
        if last:
            weak.append(f"behind all others on {_some(last, len(order))}")
    return strong, weak


def _some(names: list[str], of: int) -> str:
    """The first names, and how many more there are; or that it is all of them."""
    if len(names) == of > 1:
        return f"all {of} groups"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _detection(found: Findings, one: Standing) -> tuple[list[str], list[str]]:
    """Misses against inventions, and how well outlines fit."""
    precision, recall = (found.mean(one, v) for v in ("precision", "recall"))
    strong, weak = [], []
    if precision > recall + CLEAR:
        weak.append(f"misses more than it invents (precision {precision:.2f}, recall {recall:.2f})")
    elif recall > precision + CLEAR:
        weak.append(f"invents more than it misses (precision {precision:.2f}, recall {recall:.2f})")
    curve = found.curve(one)
    kept = {v.name: _kept(found, v) for v in found.ranked}
    if max(kept.values()) - min(kept.values()) > CLEAR and curve[0] > 0:
        text = f"{kept[one.name]:.0%} of its F1 is left at IoU {found.iou[-1]:g}"
        if kept[one.name] == max(kept.values()):
            strong.append(f"the most exact outlines: {text}")
        if kept[one.name] == min(kept.values()):
            weak.append(f"the least exact outlines: {text}")
    return strong, weak


def _kept(found: Findings, one: Standing) -> float:
    """F1 at the highest threshold over that at the lowest."""
    curve = found.curve(one)
    return float(curve[-1] / curve[0]) if curve[0] > 0 else 0.0


def _costs(found: Findings, one: Standing) -> tuple[list[str], list[str]]:
    """Time and memory beside those of the thriftiest."""
    strong, weak = [], []
    measures: list[tuple[str, str, Callable[[Cost], float | None]]] = [
        ("the fastest", "time", lambda cost: cost.seconds_per_mp),
        ("the least memory", "memory", lambda cost: cost.peak_memory),
    ]
    for best, what, get in measures:
        known = {v.name: get(v.cost) for v in found.ranked}
        values = {k: v for k, v in known.items() if v}
        if one.name not in values or len(values) < 2:
            continue
        least = min(values, key=lambda k: values[k])
        ratio = values[one.name] / values[least]
        if least == one.name:
            strong.append(best)
        elif ratio > NOTABLE:
            weak.append(f"{ratio:.1f} times the {what} of {least}")
    return strong, weak


def _facts(one: Standing) -> list[tuple[str, str]]:
    cost, made = one.cost, METHODS.get(one.entry.method)
    facts = [
        ("network", (made.network or "none") if made else ""),
        ("representation", made.representation if made else ""),
        ("learning", one.entry.learning),
        ("parameters", amount(cost.parameters)),
        ("time", "" if cost.seconds_per_mp is None else f"{cost.seconds_per_mp:.2f} s/MP"),
        ("start", "" if cost.start_seconds is None else f"{cost.start_seconds:.1f} s"),
        ("peak memory", memory(cost.peak_memory)),
        ("trained for", duration(cost.train_seconds)),
        ("steps", amount(cost.steps)),
    ]
    return [(what, value) for what, value in facts if value]


def amount(value: int | None) -> str:
    """A number as people write it; empty when unknown."""
    return "" if value is None else f"{value:,}"


def memory(value: int | None) -> str:
    """Bytes in megabytes or gigabytes; empty when unknown."""
    if value is None:
        return ""
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that fits; empty when unknown."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
