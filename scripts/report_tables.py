"""Tables of docs/report.md that are not of a comparison: data, benchmarks, experiments."""

from __future__ import annotations

import re
from typing import Any

from report_blocks import ROOT, Kept, Rows, bench, bench_command, missing, table
from report_results import BENCHES, COMPARISONS, DATA

from anycell.representations import REPRESENTATIONS

EXPERIMENTS = ROOT / "docs" / "experiments.md"
SEAM_BAR = 0.99
"""What benchmarks/seams.py asks of a real model; see there."""
RUNTIMES = ROOT / "docs" / "runtimes.md"


def published(kept: Kept) -> str:
    """What others report of the challenge."""
    there = kept["published"]
    if there is None:
        return missing("published")
    heads = ["system", "F1@0.5", "of what", "kind", "source"]
    rows = [[r[k] for k in ("system", "f1", "what", "kind", "source")] for r in there["rows"]]
    return table(heads, rows)


def data(kept: Kept) -> str:
    """Groups of images, and how many there are of each use."""
    there = kept["data"]
    if there is None:
        return missing("data")
    rows: Rows = []
    for use in ("train", "validate", "unlabeled", "slide"):
        own = [group for group in there["groups"] if group["use"] == use]
        for one in own:
            rows.append(
                [
                    use,
                    one["group"],
                    one["modality"] or "-",
                    one["labeled"] or "-",
                    f"{one['images']:,}",
                    f"{one['cells']:,}" if one["cells"] else "-",
                    "-" if one["diameter"] is None else f"{one['diameter']:g}",
                ]
            )
        if len(own) > 1:
            images, cells = (sum(v[k] for v in own) for k in ("images", "cells"))
            total = f"**{cells:,}**" if cells else "-"
            rows.append([use, "**all**", "", "", f"**{images:,}**", total, ""])
    heads = ["use", "group", "modality", "what is labeled", "images", "cells", "median px"]
    return table(heads, rows, 4) + f"\n\n*Made by `{DATA}` from DATA/manifest.csv.*"


def decoders(kept: Kept) -> str:
    """As the benchmark prints it."""
    there = kept["decoders"]
    if there is None:
        return missing("decoders")
    load = there.get("load_before")
    busy = "" if load is None else f" Load of the machine before: {load:.1f}."
    text: str = bench("decode").table(there["rows"])
    sides: dict[str, list[str]] = {}
    for row in there["rows"]:
        sides.setdefault(row["representation"], []).append(str(row["side"]))
    runs: dict[str, list[str]] = {}
    for name, own in sides.items():
        runs.setdefault(",".join(own), []).append(name)
    commands = " and ".join(
        f"`{BENCHES['decoders'][1]} --sides {own} --only {','.join(names)}`"
        for own, names in runs.items()
    )
    left = [name for name in REPRESENTATIONS if name not in sides]
    absent = f" Not run yet: {', '.join(left)}." if left else ""
    return f"{text}\n\n*Made by {commands}.*{busy}{absent}"


def runtimes(kept: Kept) -> str:
    """As the benchmark writes it into docs/runtimes.md."""
    there = kept["runtimes"]
    if there is not None:
        return "\n".join(bench("runtimes").tables(there))
    return between("runtimes") or missing("runtimes")


def int8() -> str:
    """Whether 8-bit integers are good enough, from docs/runtimes.md."""
    command = "python scripts/decide_int8.py MODEL DATA OUT --keep"
    return between("int8") or f"Not run yet: `{command}`"


def between(name: str) -> str:
    """What stands between two marks of docs/runtimes.md, without pictures."""
    text = RUNTIMES.read_text(encoding="utf-8")
    _, _, rest = text.partition(f"<!-- {name} -->")
    inside = rest.partition(f"<!-- /{name} -->")[0]
    return re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", inside).strip()


def slides(kept: Kept) -> str:
    """What large images take."""
    there = kept["slides"]
    if there is None:
        return missing("slides")
    rows = []
    for row in there["rows"]:
        f1 = row.get("f1")
        rows.append(
            [
                f"{row['source']}, {row['kind']}",
                f"{row['megapixels']:,.1f}",
                str(row["cores"]),
                f"{row['cells'] or 0:,}",
                f"{row['seconds_per_megapixel']:.3f}",
                f"{row['cpu_seconds'] / row['megapixels']:.3f}",
                f"{(row['peak_bytes'] - row['peak_bytes_before']) / 1e6:,.0f} MB",
                "-" if f1 is None else f"{f1:.3f}",
            ]
        )
    heads = ["image", "MP", "cores", "cells", "s/MP", "processor s/MP", "memory", "F1@0.5"]
    load = max(row["load_before"] for row in there["rows"])
    command = " ".join(there["command"])
    busy = f" Memory is the peak above what Python held before; highest load {load:.1f}."
    return table(heads, rows) + f"\n\n*Made by `python {command}`.*{busy}"


def seams(kept: Kept) -> str:
    """The five scores, and a million cells."""
    there = kept["seams"]
    if there is None:
        return missing("seams")
    rows = [seam_row(k, there[k]) for k in there_of(there)]
    heads = ["image", "cells", "on lines", "tiled to untiled F1@0.5", "F1@0.9"]
    heads += ["crossing cells less others", "grid shifted F1@0.5", "edges on lines", "whole"]
    parts = [table(heads, rows)]
    model = {k: dict(map(tuple, there[k]["agreement"]))[0.5] for k in there_of(there)}
    low = [f"{k} ({v:.3f})" for k, v in model.items() if v < SEAM_BAR]
    if low:
        parts.append(f"**Below the bar of {SEAM_BAR:g} at IoU 0.5: {', '.join(low)}.**")
    many = there.get("million")
    if many:
        same = "all came back" if many["same_cells"] else "**not all came back**"
        parts.append(f"{many['cells']:,} cells over {many['tiles']:,} tiles on disk: {same}.")
    command = " ".join(there["command"])
    return "\n\n".join([*parts, f"*Made by `python {command}`.*"])


def there_of(content: dict[str, Any]) -> list[str]:
    """The images that seams were scored on."""
    return [k for k, v in content.items() if isinstance(v, dict) and "agreement" in v]


def seam_row(name: str, found: dict[str, Any]) -> list[str]:
    agreement, shift = dict(map(tuple, found["agreement"])), dict(map(tuple, found["shift"]))
    crossing = found["crossing"]
    return [
        "the truth as a model" if name == "truth" else name,
        f"{found['cells']:,}",
        f"{found['crossing_cells']:,}",
        f"{agreement[0.5]:.4f}",
        f"{agreement[0.9]:.4f}",
        "-" if crossing is None else f"{crossing:+.4f}",
        f"{shift[0.5]:.4f}",
        f"{found['edges']:.3f}",
        "yes" if found["whole"] else "**no**",
    ]


def challenge(kept: Kept) -> str:
    """Time by the rule of the organisers, whatever columns the benchmark has."""
    there = kept["challenge"]
    if there is None or not there.get("rows"):
        return missing("challenge")
    heads = [k for k, v in there["rows"][0].items() if isinstance(v, int | float | str)]
    rows = [[plain(row.get(k)) for k in heads] for row in there["rows"]]
    return table(heads, rows) + "\n\n" + bench_command("challenge")


def plain(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def not_kept() -> str:
    """The rows of docs/experiments.md that say no, by the names of their columns."""
    rows: list[list[str]] = []
    names: list[str] = []
    for line in EXPERIMENTS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            names = []
        elif not names:
            names = cells
        else:
            found = dict(zip(names, cells, strict=True))
            if found.get("kept") == "no":
                rows.append([found["what"], found.get("images", "all 111"), found["F1"]])
    return table(["what", "images", "F1"], rows, 2) + "\n\n*From docs/experiments.md.*"


def remarks() -> str:
    """The paragraphs of docs/experiments.md that begin with a title in bold."""
    text = EXPERIMENTS.read_text(encoding="utf-8")
    found = [" ".join(v.split()) for v in text.split("\n\n") if re.match(r"\*\*[^*]+\*\*", v)]
    return "\n".join(f"- {paragraph}" for paragraph in found)


def status(kept: Kept) -> str:
    """Which pieces there are, and how each is made."""
    rows = []
    for name in ("data", *COMPARISONS, *BENCHES):
        there = kept[name]
        state = "not run yet" if there is None else "there"
        if there is not None and name in COMPARISONS:
            state = f"{len(there['results'])} results, {there['runs'][0]['date'][:10]}"
        rows.append([name, state, missing(name).partition(": ")[2]])
    return table(["what", "state", "command"], rows, 3)
