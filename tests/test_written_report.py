"""The written report: filled from numbers alone, and honest about what is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from anycell.compare import Comparison, Cost, Entry, HeldOut, ImageResult, Result
from anycell.errors import FormatError, InputError, SettingError
from anycell.matching import RULES
from anycell.scores import Score

pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[1]
COUNTS: dict[str, dict[str, tuple[int, int, int]]] = {
    "votes": {"blood": (31, 7, 9), "liver": (17, 3, 23)},
    "flows": {"blood": (29, 11, 11), "liver": (23, 13, 17)},
    "stars": {"blood": (37, 2, 3), "liver": (13, 1, 27)},
}
"""TP, FP and FN at the lowest IoU, of one image in each of two groups."""
COSTS = {
    "votes": Cost(0.731, 1.0, 412_000_000, 2_399_105, 61.0, 600),
    "flows": Cost(1.213, 1.0, 433_000_000, 2_398_141, 67.0, 600),
    "stars": Cost(0.979, 1.0, 421_000_000, 2_402_373, 71.0, 600),
}
COMMAND = "anycell compare /data/some -o /data/out --methods votes,flows,stars,omni --budget 600"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import write_report  # type: ignore[import-not-found]

    module: ModuleType = write_report
    return module


def scores(counts: tuple[int, int, int]) -> tuple[Score, ...]:
    """Fewer pairs at every higher threshold."""
    tp, fp, fn = counts
    return tuple(
        Score(iou, tp - 2 * k, fp + 2 * k, fn + 2 * k, 0.8 * (tp - 2 * k))
        for k, iou in enumerate(RULES["neurips2022"].iou)
    )


def result(name: str) -> Result:
    images = tuple(
        ImageResult(group, "one", False, 0.1, 1.0, scores(counts))
        for group, counts in COUNTS[name].items()
    )
    entry = Entry(name, "method", name, 1, 1.0, "supervised", False)
    return Result(entry, images, COSTS[name], name, f"predictions/{name}")


def comparison(names: Sequence[str] = tuple(COUNTS), command: str = COMMAND) -> Comparison:
    return Comparison(
        rules=RULES["neurips2022"],
        images=tuple(
            HeldOut(group, "one", "", f"/data/{group}.png", f"/data/{group}_label.png", 0.25, 20.0)
            for group in ("blood", "liver")
        ),
        results=tuple(map(result, names)),
        budget={"steps": 600, "crops": 8, "side": 192, "seeds": 1, "recipe": {}},
        machine={"processor": "one", "cores": 2, "threads": 1, "memory_bytes": 1, "platform": "x"},
        versions={"anycell": "0"},
        command=tuple(command.split()),
        date="2026-01-02T00:00:00",
    )


def laid_out(root: Path) -> Path:
    """The report as it stands in the repository, without what was taken from results."""
    (root / "docs").mkdir(parents=True)
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    empty = re.sub(r"(<!-- ([a-z]+): [^>]*-->\n).*?(<!-- /\2 -->)", r"\1\3", text, flags=re.DOTALL)
    empty = re.sub(r"!\[[^\]]*\]\(figures/failure[^)]*\)", "", empty)
    (root / "docs" / "report.md").write_text(empty, encoding="utf-8")
    return root


def written(folder: Path, made: Comparison) -> Path:
    folder.mkdir(parents=True)
    made.write(folder)
    return folder


def block(text: str, kind: str, name: str) -> str:
    (found,) = re.findall(rf"<!-- {kind}: {name} -->\n(.*?)<!-- /{kind} -->", text, re.DOTALL)
    return str(found)


def allowed() -> set[str]:
    """Every number that the tables may show, from the counts by the textbook's formula."""
    values: list[float] = []
    spans: dict[str, np.ndarray] = {}
    for name, groups in COUNTS.items():
        each = np.array(
            [
                [2 * s.tp / (2 * s.tp + s.fp + s.fn) for s in scores(counts)]
                for counts in groups.values()
            ]
        )
        spans[name] = each
        values += [*each[:, 0], each[:, 0].mean(), each.mean()]
        values.append(COSTS[name].seconds_per_mp or 0.0)
    best = max(spans, key=lambda name: spans[name][:, 0].mean())
    values += [spans[name][:, 0].mean() - spans[best][:, 0].mean() for name in spans]
    return {f"{v:.{digits}f}" for v in values for digits in (2, 3)}


def test_every_mark_is_filled_and_every_number_is_in_the_results(
    report: ModuleType, tmp_path: Path
) -> None:
    out = written(tmp_path / "out" / "representations", comparison()).parent
    root = laid_out(tmp_path / "root")
    text = report.write(root, [str(out)], None).read_text(encoding="utf-8")
    blocks = report.MARK.findall(text)
    assert len(blocks) > 30
    assert not [name for _, name, inside in blocks if not inside.strip()]
    tables = block(text, "table", "representations") + block(text, "groups", "representations")
    rows = [line for line in tables.splitlines() if line.startswith("|")][1:]
    numbers = {n for row in rows for n in re.findall(r"(?<![@\d:])-?\d+\.\d+", row)}
    assert len(numbers) > 12
    assert numbers <= allowed() | {"0.5", "0.9"}
    assert "412 MB" in tables
    assert "2,399,105" in tables


def test_other_counts_make_another_report(
    report: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = laid_out(tmp_path / "root")
    one = written(tmp_path / "a" / "representations", comparison())
    first = report.write(root, [str(one)], None).read_text(encoding="utf-8")
    monkeypatch.setitem(COUNTS, "votes", {"blood": (40, 0, 0), "liver": (40, 0, 0)})
    two = written(tmp_path / "b" / "representations", comparison())
    second = report.write(root, [str(two)], None).read_text(encoding="utf-8")
    assert "| votes | 1.000 | 1.000 to 1.000 | - |" in second
    assert "votes | 1.000" not in first
    assert "ours is ahead" in block(second, "table", "for and against")
    again = report.write(root, [], None).read_text(encoding="utf-8")
    assert again == second


def test_what_is_behind_is_said_to_be_behind(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    out = written(tmp_path / "representations", comparison())
    text = report.write(root, [str(out)], None).read_text(encoding="utf-8")
    rows = block(text, "table", "for and against").splitlines()
    (flows,) = [row for row in rows if row.startswith("| representations | votes | flows")]
    gap = np.mean([62 / 78 - 58 / 80, 34 / 60 - 46 / 76])
    assert f"{gap:+.3f}" in flows
    assert ("ahead" if gap > 0 else "behind") in flows


def test_what_was_not_run_is_named_with_its_command(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    out = written(tmp_path / "representations", comparison())
    text = report.write(root, [str(out)], None).read_text(encoding="utf-8")
    for name in ("networks", "zoom", "learning", "simulation"):
        for kind in ("table", "words"):
            inside = block(text, kind, name).strip()
            assert inside.startswith(f"Not run yet: `anycell {'' if name != 'simulation' else 's'}")
            assert "--" in inside
            assert not re.search(r"\d\.\d{3}", inside)
    assert block(text, "table", "seams").strip().startswith("Not run yet: `python benchmarks")
    assert "Not finished yet: omni (0 of 1)" in block(text, "table", "representations")
    assert not list((root / "docs" / "figures").glob("report_networks*"))


def test_the_page_needs_nothing_else(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    out = written(tmp_path / "representations", comparison())
    report.write(root, [str(out)], None)
    page = (root / "docs" / "report.html").read_text(encoding="utf-8")
    loads = re.findall(r'\ssrc="([^"]*)"', page)
    assert len(loads) == 3
    assert all(load.startswith("data:image/png;base64,") for load in loads)
    assert not re.search(r"<script|<link|url\(|@import", page)
    assert "<table>" in page
    assert "<!-- " not in page.partition("<body>")[2]


def test_no_path_of_the_machine_is_kept(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    made = comparison(command=COMMAND.replace("/data/some", "../shared/some"))
    broken = Result(Entry("omni", "method", "omni"), error="/data/out/logs/omni.log says no")
    out = written(tmp_path / "representations", replace(made, results=(*made.results, broken)))
    text = report.write(root, [str(out)], None).read_text(encoding="utf-8")
    kept = (root / "docs" / "results" / "representations.json").read_text(encoding="utf-8")
    assert "/data/" not in kept + text
    assert "../shared/" not in kept + text
    assert "compare some -o out" in block(text, "table", "representations")
    assert "omni: omni.log says no" in block(text, "table", "representations")


def test_comparisons_of_the_same_images_are_joined(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    one = written(tmp_path / "one", comparison(("votes",), "anycell compare --methods votes"))
    two = written(tmp_path / "representations-2", comparison(("stars",), "anycell compare b"))
    report.write(root, [f"representations={one}", str(two)], None)
    kept = json.loads((root / "docs" / "results" / "representations.json").read_text())
    assert [v["entry"]["name"] for v in kept["results"]] == ["votes", "stars"]
    with pytest.raises(SettingError, match="'votes' stands in two"):
        report.write(root, [f"representations={one}", f"representations={one}"], None)
    other = replace(comparison(), budget={"steps": 900, "crops": 8, "side": 192})
    three = written(tmp_path / "representations-3", other)
    with pytest.raises(SettingError, match="budget"):
        report.write(root, [str(two), str(three)], None)


@pytest.mark.parametrize("kind", ["method", "model"])
def test_a_contender_that_is_judged_anew_takes_its_old_place(
    report: ModuleType, tmp_path: Path, kind: str
) -> None:
    root = laid_out(tmp_path / "root")
    own = "anycell compare DATA -o {} --models votes"
    first = written(tmp_path / "one", comparison(("stars", "flows"), "anycell compare b -o one"))
    old = comparison(("votes",), own.format("two"))
    entry = replace(old.results[0].entry, kind=kind)
    second = written(
        tmp_path / "two", replace(old, results=(replace(old.results[0], entry=entry),))
    )
    report.write(root, [f"representations={first}", f"representations={second}"], None)
    better = replace(result("votes"), cost=replace(COSTS["votes"], steps=900))
    if kind == "model":  # its seed is that of whatever training it comes from
        better = replace(better, entry=replace(better.entry, kind="model", seed=7))
    again = replace(comparison(("votes",), own.format("three")), results=(better,))
    report.write(root, [f"representations+={written(tmp_path / 'three', again)}"], None)
    kept = json.loads((root / "docs" / "results" / "representations.json").read_text())
    assert [v["entry"]["name"] for v in kept["results"]] == ["stars", "flows", "votes"]
    assert kept["results"][-1]["cost"]["steps"] == 900
    assert [run["command"][3:5] for run in kept["runs"]] == [["-o", "one"], ["-o", "three"]]
    other = replace(again, images=again.images[:1])
    other = replace(other, results=(replace(better, images=better.images[:1]),))
    with pytest.raises(SettingError, match="differs in images"):
        report.write(root, [f"representations+={written(tmp_path / 'four', other)}"], None)


def test_simulated_and_real_are_told_apart(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    real = comparison(("votes",))
    entry = replace(real.results[0].entry, simulation=True)
    drawn = replace(real, results=(replace(real.results[0], entry=entry),))
    folders = [
        written(tmp_path / "simulation-without", real),
        written(tmp_path / "simulation-with", drawn),
    ]
    text = report.write(root, list(map(str, folders)), None).read_text(encoding="utf-8")
    assert "| votes, real alone |" in block(text, "table", "simulation")
    assert "| votes, real and simulated |" in block(text, "table", "simulation")
    assert "+0.000" in block(text, "table", "for and against")


def test_foreign_folders_and_marks_are_refused(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    with pytest.raises(InputError, match="holds nothing"):
        report.write(root, [str(tmp_path)], None)
    (tmp_path / "begun").mkdir()
    text = report.write(root, [f"zoom={tmp_path / 'begun'}"], None).read_text(encoding="utf-8")
    assert block(text, "table", "zoom").strip().startswith("Not run yet: ")
    with pytest.raises(InputError, match="no folder"):
        report.write(root, [str(tmp_path / "none")], None)
    path = root / "docs" / "report.md"
    path.write_text("<!-- table: nonsense -->\n<!-- /table -->\n", encoding="utf-8")
    with pytest.raises(FormatError, match="nonsense"):
        report.write(root, [], None)
    path.write_text("<!-- table: zoom -->\n", encoding="utf-8")
    with pytest.raises(FormatError, match="not closed"):
        report.write(root, [], None)


def test_groups_are_counted_from_the_manifest(report: ModuleType, tmp_path: Path) -> None:
    root = laid_out(tmp_path / "root")
    rows = ["use,group,image,labels,modality,labeled,cells,median_diameter_px"]
    rows += ["train,blood,a.png,a_l.png,brightfield,whole cells,1200,20.5"]
    rows += [
        "train,blood,b.png,b_l.png,brightfield,whole cells,34,22.5",
        "unlabeled,more,c.png,,,,,",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    text = report.write(root, [], tmp_path).read_text(encoding="utf-8")
    inside = block(text, "table", "data")
    assert "| train | blood | brightfield | whole cells | 2 | 1,234 | 21.5 |" in inside
    assert "| unlabeled | more | - | - | 1 | - | - |" in inside


def test_what_was_not_kept_is_read_by_the_names_of_columns(
    report: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "experiments.md"
    log.write_text(
        "| what | images | F1 | kept |\n|---|---|---:|---|\n| one | 3 | 0.1 | no |\n"
        "| two | 3 | 0.2 | yes |\n\n| what | F1 | CPU seconds | kept |\n|---|---:|---:|---|\n"
        "| three | 0.3 | 99.0 | no |\n\n| what | F1 |\n|---|---:|\n| four | 0.4 |\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(report.tables, "EXPERIMENTS", log)
    rows = [line for line in report.tables.not_kept().splitlines() if line.startswith("| ")][1:]
    assert rows == ["| one | 3 | 0.1 |", "| three | all 111 | 0.3 |"]
