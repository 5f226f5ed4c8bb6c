"""What ``write_report.py`` reports on: results taken from where they were made into docs/results.

A comparison is kept as counts of true and false positives and misses of every image, which is
all that scores are made of; no images, and no paths of the machine that it was made on.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from anycell.compare import Comparison, Cost, Entry, HeldOut, ImageResult, Result, read_comparison
from anycell.errors import FormatError, InputError, SettingError
from anycell.matching import Rules
from anycell.methods import METHODS
from anycell.model import bundled
from anycell.scores import Score

BUDGET = "--budget 600 --crops 8 --recipe side=192 --validate-every 600"
COMPARISONS = {
    "representations": (
        "anycell compare DATA -o OUT/representations --methods"
        " votes,threeclass,flows,stars,watershed,omni,masks --models general,classical " + BUDGET
    ),
    "networks": (
        "anycell compare DATA -o OUT/networks --methods votes,votes-unet,votes-unetr,"
        "votes-swinunetr,unet-3class,unetr-3class,swinunetr-3class " + BUDGET
    ),
    "optimizers": (
        "anycell compare DATA -o OUT/optimizers-muon --methods votes,flows " + BUDGET + "; anycell"
        " compare DATA -o OUT/optimizers-adamw --methods votes,flows --recipe optimizer=adamw"
        " --recipe rate=0.0015 " + BUDGET
    ),
    "zoom": "anycell compare DATA -o OUT/zoom --models general --zoom-scheme none,diameter,plan",
    "mixed": (
        "python benchmarks/mixed.py MIXED; anycell compare MIXED -o OUT/mixed --models general"
        " --zoom-scheme none,diameter,plan"
    ),
    "learning": (
        "anycell compare DATA -o OUT/learning --methods votes"
        " --learning supervised,mean-teacher,parity --label-share 10 " + BUDGET
    ),
    "shares": (
        "anycell compare DATA -o OUT/shares --methods votes"
        " --learning supervised,mean-teacher,parity --label-share 5,10,25,100 " + BUDGET
    ),
    "simulation": (
        "anycell simulate SIM; anycell compare DATA SIM -o OUT/simulation-with --methods votes "
        + BUDGET
        + "; anycell compare DATA -o OUT/simulation-without --methods votes "
        + BUDGET
    ),
}
"""Comparisons, and the command that makes each."""
BENCHES = {
    "decoders": ("decode.json", "python benchmarks/decode.py -o OUT"),
    "runtimes": ("runtimes.json", "python benchmarks/runtimes.py -o OUT"),
    "slides": ("slide.json", "python benchmarks/slide.py -o OUT"),
    "seams": ("seams.json", "python benchmarks/seams.py -o OUT --slide IMAGE"),
    "challenge": ("challenge_time.json", "python benchmarks/challenge_time.py -o OUT"),
}
"""Benchmarks, the file that each writes, and its command."""
DATA = "python scripts/write_report.py --data DATA"
FOLDERS = re.compile(r"(?<![\w.~:/])(?:/|(?:\.\./)+)(?:[^\s/'\"]+/)+")


def command_of(name: str) -> str:
    """How to make what is not there yet."""
    if name in COMPARISONS:
        return COMPARISONS[name]
    return BENCHES[name][1] if name in BENCHES else DATA


def take(sources: Iterable[str], results: Path) -> list[str]:
    """Keep what some folders hold; give the names of what was found.

    Each source is NAME=FOLDER, NAME+=FOLDER or FOLDER: one that ``anycell compare`` wrote
    (NAME then says which comparison it is; else its own name does, up to the first hyphen), one
    with the JSON files of benchmarks, or one that holds such folders.  Several folders of one
    comparison, and the rows of several files of one benchmark, are joined; what comes with +=
    takes the place of the same contenders in what is kept already.
    """
    found: dict[str, list[Path]] = {}
    adding = set()
    for source in sources:
        name, _, folder = source.rpartition("=")
        if name.endswith("+"):
            name = name[:-1]
            adding.add(name)
        there = _pieces(name, Path(folder))
        # A named comparison may still be at its first entry; the report then says so.
        if not there and name not in COMPARISONS:
            raise InputError(
                f"{source} holds nothing to report",
                expected=f"a comparison called {', '.join(COMPARISONS)}, or a benchmark's JSON",
                hint=f"representations={folder}",
            )
        for key, path in there:
            found.setdefault(key, []).append(path)
    results.mkdir(parents=True, exist_ok=True)
    for key, paths in found.items():
        if key in COMPARISONS:
            made = joined([read_comparison(v) for v in paths], key)
            kept = read_kept(results, key) if key in adding else None
            _write(results / f"{key}.json", made if kept is None else renewed(kept, made))
        else:
            _write(results / f"{key}.json", _without_paths(_rows_joined(paths)))
    return list(found)


def _pieces(name: str, path: Path) -> list[tuple[str, Path]]:
    """Names and places of what a folder holds, itself and one level below."""
    if not path.is_dir():
        raise InputError(f"there is no folder {path}", expected="a folder of results")
    found = []
    for inner in [path, *sorted(p for p in path.iterdir() if p.is_dir())]:
        key = name if name and inner == path else inner.resolve().name.partition("-")[0]
        if (inner / "comparison.json").is_file() and key in COMPARISONS:
            found.append((key, inner))
        for bench, (file, _) in BENCHES.items():
            if (inner / file).is_file():
                found.append((bench, inner / file))
    return found


def _rows_joined(paths: list[Path]) -> dict[str, Any]:
    """What a benchmark wrote, with the rows of all its files and the highest load."""
    made: list[dict[str, Any]] = [json.loads(p.read_text(encoding="utf-8")) for p in paths]
    if len(made) == 1 or not all("rows" in one for one in made):
        return made[-1]
    loads = [one["load_before"] for one in made if one.get("load_before") is not None]
    rows = [row for one in made for row in one["rows"]]
    return made[-1] | {"rows": rows} | ({"load_before": max(loads)} if loads else {})


def take_data(data: Path, results: Path) -> None:
    """Count the images and cells of every group in a manifest.csv."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    groups = []
    for use, group in sorted({(row["use"], row["group"]) for row in rows}):
        own = [row for row in rows if (row["use"], row["group"]) == (use, group)]
        sizes = [float(v) for row in own if (v := row.get("median_diameter_px", ""))]
        groups.append(
            {
                "use": use,
                "group": group,
                "modality": Counter(row["modality"] for row in own).most_common(1)[0][0],
                "labeled": Counter(row.get("labeled", "") for row in own).most_common(1)[0][0],
                "images": len(own),
                "cells": sum(int(row["cells"] or 0) for row in own),
                "diameter": round(median(sizes), 1) if sizes else None,
            }
        )
    results.mkdir(parents=True, exist_ok=True)
    _write(results / "data.json", {"groups": groups})


def joined(made: list[Comparison], name: str) -> dict[str, Any]:
    """The small form of comparisons on the same images.

    Raises
    ------
    SettingError : they were made on other images, by other rules or with another budget.
    """
    first = made[0]
    for other in made[1:]:
        one, two = (_frame(v) for v in (first, other))
        # Where nothing was trained there is no budget to agree on.
        wrong = ", ".join(key for key in one if one[key] and two[key] and one[key] != two[key])
        if wrong:
            raise SettingError(
                f"the comparisons of {name} differ in {wrong}",
                expected="the same images, rules and budget",
            )
    named = NAMED.get(name, lambda result, _: result)
    results = [named(result, one) for one in made for result in one.results]
    twice = Counter((result.entry.contender, result.entry.seed) for result in results)
    if twice and twice.most_common(1)[0][1] > 1:
        raise SettingError(
            f"{twice.most_common(1)[0][0][0]!r} stands in two comparisons of {name}",
            expected="each contender, or each of its seeds, in one of them only",
        )
    return {
        "runs": [
            {
                "command": _without_paths(list(v.command)),
                "date": v.date,
                "machine": v.machine,
                "versions": v.versions,
                "budget": _without_paths(v.budget),
            }
            for v in made
        ],
        "rules": asdict(first.rules),
        "images": [[v.group, v.name, v.modality, v.megapixels, v.diameter] for v in first.images],
        "results": [_small(result) for result in results],
    }


def renewed(kept: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The small form of a comparison with some contenders judged anew.

    Raises
    ------
    SettingError : they were judged on other images or by other rules.
    """
    made = json.loads(json.dumps(made))
    wrong = ", ".join(key for key in ("images", "rules") if kept[key] != made[key])
    if wrong:
        raise SettingError(
            f"what was judged anew differs in {wrong}", expected="the same images and rules"
        )
    anew = {_who(one): one for one in made["results"]}
    results = [anew.pop(_who(one), one) for one in kept["results"]]
    typed_anew = [_without_place(run["command"]) for run in made["runs"]]
    runs = [run for run in kept["runs"] if _without_place(run["command"]) not in typed_anew]
    return {**kept, "runs": [*runs, *made["runs"]], "results": [*results, *anew.values()]}


def _who(result: dict[str, Any]) -> tuple[str, int | None]:
    """Name and seed; of what was not trained here, the name alone."""
    entry = result["entry"]
    return entry["name"], entry["seed"] if entry["kind"] == "method" else None


def _without_place(command: list[str]) -> list[str]:
    """A command without where its results went."""
    place = command.index("-o") if "-o" in command else len(command)
    return command[:place] + command[place + 2 :]


def _frame(made: Comparison) -> dict[str, Any]:
    budget = {k: v for k, v in made.budget.items() if k in ("steps", "crops", "side") and v}
    images = [(v.group, v.name) for v in made.images]
    return {"images": images, "rules": made.rules, "budget": budget}


def _named_by_data(result: Result, made: Comparison) -> Result:
    """Told apart by what they learned from, which the name of a contender does not say."""
    del made
    if result.entry.kind != "method" or result.entry.simulation is None:
        return result
    data = "real and simulated" if result.entry.simulation else "real alone"
    return replace(result, entry=replace(result.entry, name=f"{result.entry.name}, {data}"))


def _named_by_optimizer(result: Result, made: Comparison) -> Result:
    """Told apart by what was typed for all methods; their own otherwise."""
    if result.entry.method not in METHODS:
        return result
    own = METHODS[result.entry.method].recipe.optimizer
    name = f"{result.entry.name}, {made.budget.get('recipe', {}).get('optimizer', own)}"
    return replace(result, entry=replace(result.entry, name=name))


NAMED = {"simulation": _named_by_data, "optimizers": _named_by_optimizer}
"""Comparisons whose contenders are told apart by what their names do not say."""


def _small(result: Result) -> dict[str, Any]:
    return {
        "entry": asdict(result.entry),
        "cost": asdict(result.cost),
        "model": result.model,
        "error": _without_paths(result.error),
        "images": [
            [
                int(image.missing),
                None if image.seconds is None else round(image.seconds, 3),
                None if image.zoom is None else round(image.zoom, 4),
                *[[s.tp, s.fp, s.fn, round(s.iou_sum, 3)] for s in image.scores],
            ]
            for image in result.images
        ],
    }


def read_kept(results: Path, name: str) -> dict[str, Any] | None:
    """What was kept under a name; None when it was not made yet."""
    path = results / f"{name}.json"
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_small(kept: dict[str, Any]) -> Comparison:
    """Undo :func:`joined`, as far as the numbers go."""
    rules = Rules(**{**kept["rules"], "iou": tuple(kept["rules"]["iou"])})
    images = tuple(HeldOut(v[0], v[1], v[2], "", "", v[3], v[4]) for v in kept["images"])
    first = kept["runs"][0]
    try:
        results = tuple(_large(result, images, rules) for result in kept["results"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"results are damaged: {error}", expected="as taken") from error
    return Comparison(
        rules=rules,
        images=images,
        results=results,
        budget=first["budget"],
        machine=first["machine"],
        versions=first["versions"],
        command=tuple(first["command"]),
        date=first["date"],
    )


def _large(kept: dict[str, Any], images: tuple[HeldOut, ...], rules: Rules) -> Result:
    scored = tuple(
        ImageResult(
            image.group,
            image.name,
            bool(missing),
            seconds,
            zoom,
            tuple(Score(i, *v, rules.empty) for i, v in zip(rules.iou, counts, strict=True)),
        )
        for image, (missing, seconds, zoom, *counts) in zip(images, kept["images"], strict=False)
    )
    return Result(
        Entry(**kept["entry"]), scored, Cost(**kept["cost"]), kept["model"], error=kept["error"]
    )


def unfinished(kept: dict[str, Any]) -> list[str]:
    """What the commands of a comparison ask for and is not there yet."""
    done = Counter(result["entry"]["name"].partition(",")[0] for result in kept["results"])
    wanted: Counter[str] = Counter()
    for run in kept["runs"]:
        asked = _options(run["command"])
        schemes = len(asked.get("zoom-scheme", "plan").split(","))
        each = len(asked.get("learning", "-").split(",")) * int(asked.get("seeds", "1"))
        each *= len(asked.get("label-share", "100").split(","))
        for name in filter(None, asked.get("methods", "").split(",")):
            count = schemes * (each if METHODS[name].network else 1)
            wanted[name] = max(wanted[name], count)
        for name in filter(None, asked.get("models", "").split(",")):
            # A bare path is called after its folder, which the kept command may not show.
            if "=" in name or name in ("classical", *bundled()):
                wanted[name.partition("=")[0]] = schemes
    return [f"{k} ({done[k]} of {v})" for k, v in wanted.items() if done[k] < v]


def _options(command: list[str]) -> dict[str, str]:
    """Values of the options that were typed."""
    text = [part for word in command for part in word.split("=", 1 if word[:2] == "--" else 0)]
    return {k[2:]: v for k, v in pairwise(text) if k.startswith("--")}


def typed(run: dict[str, Any]) -> str:
    """The command of a run, as it was typed, without folders of the machine."""
    return shlex.join(run["command"])


def _without_paths(value: Any) -> Any:
    """The same with the names of files alone."""
    if isinstance(value, dict):
        return {k: _without_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_paths(v) for v in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value


def _write(path: Path, content: Any) -> None:
    """JSON with one line for each image and result, so that changes can be read."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    text = re.sub(r'(,\{"entry"|"(?:images|results|runs|groups|rows)":\[)', r"\n\1", text)
    path.write_text(text + "\n", encoding="utf-8")
