"""How a comparison was made, and what its numbers do not say."""

from __future__ import annotations

import shlex
from typing import Any

from anycell.compare import Comparison
from anycell.report.findings import Findings
from anycell.report.words import memory

__all__ = ["how", "notes", "overview"]


def overview(found: Findings) -> str:
    """One sentence: who came out first, on what."""
    images, groups = len(found.groups), len(set(found.groups))
    on = f"{images} held-out images of {groups} groups"
    if not found.ranked:
        return f"Nothing could be judged on {on}."
    best = found.ranked[0]
    text = (
        f"{len(found.ranked)} contenders on {on}. {best.name} is first with"
        f" F1@{found.iou[0]:g} {best.f1.value:.3f}"
    )
    tied = [
        v.name
        for v in found.ranked[1:]
        if v.behind is not None and v.behind.low <= 0 <= v.behind.high
    ]
    if tied:
        text += f"; these images do not tell it from {', '.join(tied)}"
    return text + "."


def how(made: Comparison) -> list[tuple[str, str]]:
    """Pairs of what and how."""
    rules = made.rules
    lines = [
        ("command", " ".join(v if v == ";" else shlex.quote(v) for v in made.command)),
        ("date", made.date),
        ("versions", ", ".join(f"{k} {v}" for k, v in made.versions.items())),
    ]
    lines += [("machine", _machine(machine)) for machine in _all(made.machine)]
    text = (
        f"IoU from {', '.join(f'{v:g}' for v in rules.iou)}; cells touching the outer"
        f" {rules.ignore_border} px left out; an empty image scores {rules.empty:g}"
    )
    lines.append(("rules", text))
    trained = [budget for budget in _all(made.budget) if budget.get("steps")]
    return lines + [("budget of each training", _budget(budget)) for budget in trained]


def _all(value: dict[str, Any]) -> list[dict[str, Any]]:
    """One of a single comparison, several of joined ones that differ."""
    found: list[dict[str, Any]] = value.get("several", [value])
    return found


def _machine(machine: dict[str, Any]) -> str:
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads,"
        f" {memory(machine['memory_bytes'])}, {machine['platform']}"
    )


def _budget(budget: dict[str, Any]) -> str:
    other = "".join(f", {k} {v}" for k, v in budget["recipe"].items() if k not in budget)
    return (
        f"{budget['steps']} steps of {budget['crops']} crops of {budget['side']} px,"
        f" {budget['seeds']} seeds, device {budget['device']}{other}"
    )


def notes(found: Findings) -> list[str]:
    """What to know before the numbers are believed."""
    budgets = _all(found.comparison.budget)
    said = [
        (
            "Contenders are ranked by the mean over groups of the mean over images, so that a large"
            " group does not outweigh the others."
        ),
        (
            "Intervals are those of a paired bootstrap: 10,000 times the images of each group are"
            " drawn again, the same for all. They say nothing of other groups or other seeds."
        ),
        "AP is TP / (TP + FP + FN), not the average precision of COCO.",
        (
            "Seconds per megapixel are the median over images, after a warm-up, in a process of its"
            " own that segments one image after the other; the peak of its memory includes the"
            " libraries."
        ),
    ]
    if found.lonely:
        said.append(f"Groups of a single image: {', '.join(found.lonely)}; they widen no interval.")
    said += [
        f"Trainings of {v['steps']} steps validate every {v['validate_every']} on up to"
        f" {v['validate_images']} images of each held-out group and keep the best weights: a"
        " small advantage, the same for all."
        for v in budgets
        if v.get("steps")
    ]
    if len([v for v in budgets if v.get("steps")]) > 1:
        said.append("Budgets differ; compare trained contenders within a budget only.")
    if "several" in found.comparison.machine:
        said.append("Machines differ; do not compare times between them.")
    if any(one.entry.zoom == "diameter" for one in found.ranked):
        said.append(
            "One zoom for all comes from the true cells of the judged images, which a user does"
            " not have: an advantage for that scheme."
        )
    return said
