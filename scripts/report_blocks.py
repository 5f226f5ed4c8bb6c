"""What stands between the marks of docs/report.md, one function for each kind of block."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from report_results import BENCHES, COMPARISONS, command_of, read_kept, read_small, typed
from report_results import unfinished as not_finished

from anycell.compare import Entry, Interval, Standing, resample_means
from anycell.methods import METHODS, Recipe
from anycell.networks import NETWORKS, network
from anycell.report.findings import Findings
from anycell.report.made import overview
from anycell.report.plots import draw_figures
from anycell.report.tables import heat_table, ranking_table
from anycell.report.words import card
from anycell.representations import REPRESENTATIONS, representation

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("contender", "95 %", "behind", "F1@", "s/MP", "memory", "parameters", "training")
Rows = list[list[str]]


@dataclass(frozen=True)
class Kept:
    """The results that were taken, and where."""

    results: Path

    def __getitem__(self, name: str) -> dict[str, Any] | None:
        return read_kept(self.results, name)

    def found(self, name: str) -> Findings | None:
        """A comparison that was taken, ranked."""
        return self._found.get(name)

    @cached_property
    def _found(self) -> dict[str, Findings]:
        read = {name: self[name] for name in COMPARISONS}
        there = {k: read_small(v) for k, v in read.items() if v and v["results"]}
        return {k: Findings.of(v, self.results) for k, v in there.items()}


def missing(name: str) -> str:
    """In place of what was not made."""
    return f"Not run yet: `{command_of(name)}`"


def table(heads: list[str], rows: Rows, first: int = 1) -> str:
    """Markdown; the first columns are words, the others numbers."""
    line = "|" + "---|" * first + "---:|" * (len(heads) - first)
    rows = [[cell.replace("|", "/").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(["| " + " | ".join(row) + " |" for row in [heads]] + [line] + [
        "| " + " | ".join(row) + " |" for row in rows
    ])  # fmt: skip


def first_of(value: dict[str, Any]) -> dict[str, Any]:
    """Of joined comparisons the first one's; another budget is no comparison of learning."""
    found: dict[str, Any] = value.get("several", [value])[0]
    return found


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def made_by(kept: dict[str, Any]) -> str:
    """How the numbers of a comparison came about."""
    run = kept["runs"][0]
    machine, versions = first_of(run["machine"]), run["versions"]
    commands = " and ".join(f"`{typed(v)}`" for v in kept["runs"])
    used = ", ".join(f"{k} {v}" for k, v in versions.items())
    text = (
        f"*Made by {commands} on {run['date'][:10]}: {machine['processor']},"
        f" {counted(machine['cores'], 'core')}, {counted(machine['threads'], 'thread')}; {used}.*"
    )
    late = not_finished(kept)
    return text + (f" **Not finished yet: {', '.join(late)}.**" if late else "")


def ranking(kept: Kept, name: str) -> str:
    """The table of a comparison."""
    found, there = kept.found(name), kept[name]
    if found is None or there is None:
        return missing(name)
    whole = ranking_table(found)
    places = [k for k, head in enumerate(whole.heads) if head.startswith(SHOWN)]
    heads = [whole.heads[k] for k in places]
    rows = [[row[k].text for k in places] for row in whole.rows]
    failed = [f"{v.entry.contender}: {v.error}" for v in found.comparison.failed]
    parts = [table(heads, rows), made_by(there), *(f"Failed: {text}" for text in failed)]
    return "\n\n".join(parts)


def by_group(kept: Kept, name: str) -> str:
    """F1 of every group and modality, one row for each."""
    found = kept.found(name)
    if found is None:
        return missing(name)
    whole = heat_table(found)
    names = [row[0].text for row in whole.rows]
    rows = []
    groups = len(set(found.groups))
    for k, head in enumerate(whole.heads[1:], 1):
        values = [row[k].key or 0.0 for row in whole.rows]
        texts = [row[k].text for row in whole.rows]
        rows.append(
            [
                head if k <= groups else f"*all {head}*",
                *(
                    f"**{text}**" if value == max(values) > 0 and len(values) > 1 else text
                    for text, value in zip(texts, values, strict=True)
                ),
            ]
        )
    note = (
        f"F1 at IoU {found.iou[0]:g}, mean over the images of a group (number of images in"
        " brackets), the highest of a row in bold."
    )
    return table(["group", *names], rows) + "\n\n" + note


def figure(kept: Kept, asked: str, folder: Path) -> str:
    """A figure of a comparison, as a file beside the report."""
    name, _, kind = asked.partition(" ")
    found = kept.found(name)
    path = folder / f"report_{name}_{kind}.png"
    drawn = draw_figures(found) if found else {}
    if kind not in drawn:
        path.unlink(missing_ok=True)
        return missing(name)
    caption, png = drawn[kind]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(smaller(png))
    return f"![{caption}](figures/{path.name})\n\n*{name}: {caption}*"


def smaller(png: bytes) -> bytes:
    """The same picture in 64 colors."""
    import io

    from PIL import Image

    stream = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
            stream, "png", optimize=True
        )
    return stream.getvalue()


def alone(found: Findings) -> Findings:
    """The contenders that were trained with the same budget; all, where there are too few."""
    own = [v for v in found.comparison.results if v.entry.kind == "method" and v.images]
    if len({v.entry.contender for v in own}) < 2:
        return found
    return Findings.of(replace(found.comparison, results=tuple(own)), found.folder)


def words(kept: Kept, name: str) -> str:
    """Who is good and bad at what, from the numbers alone."""
    found = kept.found(name)
    if found is None:
        return missing(name)
    fair = alone(found)
    lines = [effort(found), overview(fair)]
    for one in fair.ranked:
        told = card(fair, one)
        good, bad = "; ".join(told.strengths), "; ".join(told.weaknesses)
        lines.append(
            f"- **{told.name}.** {told.place}"
            + (f" Advantages: {good}." if good else "")
            + (f" Drawbacks: {bad}." if bad else "")
        )
    others = [v for v in found.ranked if v.name not in {one.name for one in fair.ranked}]
    if others:
        beside = "; ".join(f"{v.name} {v.f1.value:.3f}{steps_of(v)}" for v in others)
        lines.append(
            f"Beside them, with another budget or none, and so left out of the ranks above: F1"
            f" {beside}."
        )
    split = 2 + len(fair.ranked)
    return "\n\n".join([*lines[:2], "\n".join(lines[2:split]), *lines[split:]])


def steps_of(one: Standing) -> str:
    return (
        f" ({one.cost.steps:,} steps in its last stage)" if one.cost.steps else " (nothing trained)"
    )


def effort(found: Findings) -> str:
    """How little training a comparison is."""
    budget = first_of(found.comparison.budget)
    if not budget.get("steps"):
        return "Nothing was trained for this comparison."
    steps, crops, side = (int(budget[k]) for k in ("steps", "crops", "side"))
    seeds = {len(v.results) for v in found.ranked if v.entry.kind == "method"} or {0}
    text = (
        f"Each training saw {steps * crops:,} crops of {side} x {side} px"
        f" ({steps * crops * side**2 / 1e6:,.0f} megapixels), with {counted(max(seeds), 'seed')}:"
        " it shows how fast a method learns, not how good it becomes."
    )
    models = [v for v in found.ranked if v.entry.kind == "model" and v.cost.steps]
    return text + "".join(
        f" The model {v.name} took {v.cost.steps:,} steps in its last stage (its card has all)."
        for v in models
        if v.cost.steps
    )


Pick = Callable[[Entry], bool]


def is_method(*names: str) -> Pick:
    return lambda entry: entry.kind == "method" and entry.method in names


def is_zoom(*names: str) -> Pick:
    return lambda entry: entry.zoom in names


def is_learning(*names: str) -> Pick:
    return lambda entry: entry.kind == "method" and entry.learning in names


FIELD = ("threeclass", "flows", "omni", "stars", "watershed")
PAIRS: tuple[tuple[str, str, Pick, Pick], ...] = (
    ("representations", "votes", is_method("votes"), is_method(*FIELD)),
    ("representations", "masks", is_method("masks"), is_method(*FIELD)),
    (
        "networks",
        "swift",
        is_method("votes"),
        is_method("votes-unet", "votes-unetr", "votes-swinunetr"),
    ),
    ("networks", "votes on U-Net", is_method("votes-unet"), is_method("unet-3class")),
    ("networks", "votes on UNETR", is_method("votes-unetr"), is_method("unetr-3class")),
    ("networks", "votes on SwinUNETR", is_method("votes-swinunetr"), is_method("swinunetr-3class")),
    ("zoom", "zoom plan", is_zoom("plan"), is_zoom("none", "diameter")),
    ("learning", "parity", is_learning("parity"), is_learning("supervised", "mean-teacher")),
    (
        "simulation",
        "simulated images",
        lambda entry: entry.simulation is True,
        lambda entry: entry.simulation is False,
    ),
)
"""What is ours, and what it stands against: comparison, name, which is which."""


def for_and_against(kept: Kept) -> str:
    """What is ours against what the field has, image by image."""
    rows: Rows = []
    absent: dict[str, list[str]] = {}
    for name, ours, mine, theirs in PAIRS:
        found = kept.found(name)
        pairs = [] if found is None else gaps(found, mine, theirs)
        rows += [[name, ours, other, *map(shown, two), *map(told, two)] for other, *two in pairs]
        if not pairs:
            absent.setdefault(name, []).append(ours)
    heads = ["comparison", "ours", "against", "F1@0.5 of ours less the other's", "F1@0.5:0.9"]
    heads += ["says F1@0.5", "says F1@0.5:0.9"]
    parts = [table(heads, rows, 3)] if rows else []
    lines = [f"- {', '.join(ours)}: {missing(name)}" for name, ours in absent.items()]
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else [])])


def gaps(found: Findings, mine: Pick, theirs: Pick) -> list[tuple[str, Interval, Interval]]:
    """The first of ours less each of theirs: F1 at the lowest IoU, and mean over all of them."""
    ours = [k for k, v in enumerate(found.ranked) if mine(v.entry)]
    others = [k for k, v in enumerate(found.ranked) if theirs(v.entry)]
    if not ours or not others:
        return []
    levels = np.stack([v.levels[0] for v in found.ranked], axis=1)
    low, span = (resample_means(v, found.groups) for v in (levels[..., 0], levels.mean(axis=-1)))
    return [
        (found.ranked[k].name, low.difference(ours[0], k), span.difference(ours[0], k))
        for k in others
    ]


def shown(gap: Interval) -> str:
    return f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"


def told(gap: Interval) -> str:
    if gap.low <= 0 <= gap.high:
        return "not told apart"
    return "ours is ahead" if gap.low > 0 else "**ours is behind**"


def method_card(kept: Kept, name: str) -> str:
    """What a method is and what came out, as a table."""
    made = METHODS[name]
    rep = representation(made.representation)
    rows = [
        ["idea", made.summary],
        ["source", made.reference],
        ["implemented in", f"`{source(REPRESENTATIONS[made.representation])}`"],
        [
            "outputs",
            f"{counted(rep.channels, 'plane')}, one value per {rep.stride} x {rep.stride} px",
        ],
        ["settings", settings(rep) or "none"],
    ]
    if made.network:
        rows[2][1] += f", `{source(NETWORKS[made.network])}`"
        rows[2][1] += "" if made.learning == "supervised" else ", `src/anycell/lessons.py`"
        rows.append(["network, learning", f"{made.network}, {made.learning}"])
        mine, usual = asdict(made.recipe), asdict(Recipe())
        changes = ", ".join(f"{k} {v}" for k, v in mine.items() if v != usual[k]) or "nothing"
        rows.append(["recipe", f"rate {made.recipe.rate:g}; unlike the usual one: {changes}"])
    rows.append(["cost of decoding", decode_cost(kept, made.representation)])
    own = [
        (where, found, one)
        for where in COMPARISONS
        if (found := kept.found(where))
        for one in found.ranked
        if (one.entry.method == name or one.entry.learning == name) and one.entry.kind == "method"
    ]
    for where, found, any_rank in own:
        fair = alone(found)
        one = next((v for v in fair.ranked if v.name == any_rank.name), any_rank)
        rank = [v.name for v in fair.ranked].index(one.name) + 1
        text = (
            f"{one.name}: F1@{found.iou[0]:g} {one.f1.value:.3f} ({one.f1.low:.3f} to"
            f" {one.f1.high:.3f}), {rank} of {len(fair.ranked)}"
        )
        rows.append([f"in *{where}*", text])
    rows += reference_rows(kept, name) if not own else []
    return table([f"`{name}`", ""], rows, 2)


def reference_rows(kept: Kept, name: str) -> Rows:
    """Results of what is not trained; or that there are none."""
    found = kept.found("representations")
    models = [v for v in found.ranked if v.entry.name == name] if found else []
    if not models:
        return [["result", "not run yet"]]
    one = models[0]
    return [
        [
            "in *representations*",
            f"F1 {one.f1.value:.3f} ({one.f1.low:.3f} to {one.f1.high:.3f}), nothing trained",
        ]
    ]


def network_card(kept: Kept, name: str) -> str:
    """What a network is and what came out, as a table."""
    made = network(name)
    rows = [["implemented in", f"`{source(NETWORKS[name])}`"], ["settings", settings(made)]]
    rows.append(["tiles", f"sides a multiple of {made.multiple} px, halo from {made.reach} px"])
    found = kept.found("networks")
    own = [v for v in found.ranked if METHODS[v.entry.method].network == name] if found else []
    for one in own:
        cost = one.cost
        text = (
            f"{cost.parameters or 0:,} parameters, {cost.seconds_per_mp or 0:.2f} s/MP,"
            f" F1 {one.f1.value:.3f} ({one.f1.low:.3f} to {one.f1.high:.3f})"
        )
        rows.append([f"`{one.name}`", text])
    if not own:
        rows.append(["result", missing("networks")])
    return table([f"`{name}`", ""], rows, 2)


def decode_cost(kept: Kept, name: str) -> str:
    """Processor seconds and memory per megapixel, at the largest side that all were timed at."""
    there = kept["decoders"]
    sides: dict[str, set[int]] = {}
    for row in there["rows"] if there else []:
        sides.setdefault(row["representation"], set()).add(row["side"])
    if there is None or name not in sides:
        return missing("decoders")
    side = max(set.intersection(*sides.values()) or sides[name])
    row = next(r for r in there["rows"] if (r["representation"], r["side"]) == (name, side))
    size = row["side"] ** 2 / 1e6
    clock = "cpu" if "cpu" in row["decode"] else "seconds"
    return (
        f"{row['decode'][clock] / size:.3f} s/MP (confidence"
        f" {row['confidence'][clock] / size:.3f}, encoding {row['encode'][clock] / size:.3f}),"
        f" {row['decode']['mib'] / size:.0f} MiB/MP, at {row['side']} px"
    )


def settings(value: Any) -> str:
    """The fields of a representation or network, with their values."""
    if not is_dataclass(value):
        return ""
    return ", ".join(f"{f.name} {getattr(value, f.name)}" for f in fields(value))


def source(place: str) -> str:
    return "src/" + place.partition(":")[0].replace(".", "/") + ".py"


def bench(name: str) -> ModuleType:
    """A benchmark, for the table that it prints."""
    path = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def bench_command(name: str) -> str:
    return f"*Made by `{BENCHES[name][1]}`.*"
