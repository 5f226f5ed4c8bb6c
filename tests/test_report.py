"""Reports: one page that needs nothing else, Markdown with figures, words from numbers."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anycell.cli import app
from anycell.compare import (
    ComparePlan,
    Comparison,
    Cost,
    Entry,
    ImageResult,
    Result,
    compare,
)
from anycell.errors import InputError
from anycell.files import write_labels
from anycell.scores import Score
from drawn import disks, grouped

pytest.importorskip("matplotlib")
from anycell.report import write_report
from anycell.report.findings import Findings
from anycell.report.words import card


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of the classical method and of another tool, one image of which is missing."""
    root = tmp_path_factory.mktemp("report")
    data = grouped(root / "data")
    rows = ["use,group,image,labels,modality"]
    rows += [
        f"validate,{group},{group}/images/one.png,{group}/labels/one.png,{modality}"
        for group, modality in (("blood", "brightfield"), ("liver", "fluorescence"))
    ]
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")
    (root / "tool" / "blood").mkdir(parents=True)
    write_labels(disks(8), root / "tool" / "blood" / "one_label.tif")
    plan = ComparePlan(
        (data,),
        root / "out",
        methods=("classical",),
        predictions=(("tool <b>", root / "tool"),),
    )
    compare(plan)
    write_report(root / "out")
    return root / "out"


def test_the_page_needs_nothing_else_and_shows_everyone(out: Path) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    loads = re.findall(r'(?:src|href|srcset|action|data)\s*=\s*"([^"]*)"', text)
    assert loads
    assert all(link.startswith("data:image/") for link in loads)
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", text)
    assert len(text.encode()) < 5_000_000
    assert "classical" in text
    assert "tool &lt;b&gt;" in text
    assert "tool <b>" not in text
    assert text.count("data:image/jpeg") == 2 * 3
    assert text.count("data:image/png") == 3  # ranking, IoU, time; the heat map is a table
    assert "prefers-color-scheme: dark" in text
    assert "Otsu 1979" in text


def test_the_markdown_has_its_figures_beside_it(out: Path) -> None:
    text = (out / "report.md").read_text(encoding="utf-8")
    names = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert sorted(names) == [f"figures/{v}.png" for v in ("heatmap", "iou", "pareto", "ranking")]
    for name in names:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert "| 1 | classical | 1.000 |" in text


def test_a_page_is_written_anew_from_the_numbers_alone(out: Path, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text((out / "comparison.json").read_text())
    (tmp_path / "seams.csv").write_text("contender,F1 at lines\nclassical,0.987\n")
    result = CliRunner().invoke(app, ["report", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    page = Path(json.loads(result.stdout)["page"])
    text = page.read_text(encoding="utf-8")
    assert "0.987" in text
    assert "is not a folder" in text  # the predictions stayed behind; no crops of classical
    assert text.count("data:image/jpeg") == 3
    with pytest.raises(InputError, match="there is no"):
        write_report(tmp_path / "none")


def test_crops_show_truth_prediction_and_both(out: Path) -> None:
    from anycell.compare import read_comparison
    from anycell.report.gallery import crops

    found = Findings.of(read_comparison(out), out)
    tool = next(one for one in found.ranked if one.entry.kind == "predictions")
    shown, why = crops(found, tool, 100)
    assert why == ""
    assert [crop.role for crop in shown] == ["best", "median", "worst"]
    assert (shown[0].image.group, shown[-1].image.group) == ("blood", "liver")
    best, worst = (picture(crop.jpeg) for crop in (shown[0], shown[-1]))
    assert (green(best), magenta(best)) == (True, True)
    assert (green(worst), magenta(worst)) == (True, False)  # nothing was predicted there


def picture(jpeg: bytes) -> np.ndarray:
    from imagecodecs import jpeg8_decode

    decoded: np.ndarray = jpeg8_decode(jpeg).astype(int)
    return decoded


def green(pixels: np.ndarray) -> bool:
    return int((pixels[..., 1] > pixels[..., [0, 2]].max(axis=-1) + 60).sum()) > 50


def magenta(pixels: np.ndarray) -> bool:
    return int((pixels[..., [0, 2]].min(axis=-1) > pixels[..., 1] + 60).sum()) > 50


def invented(out: Path) -> Findings:
    """Two contenders whose numbers are known: A misses on blood, B is slower."""
    from anycell.compare import read_comparison

    base: Comparison = read_comparison(out)

    def result(name: str, counts: list[tuple[int, int, int]], cost: Cost) -> Result:
        images = tuple(
            ImageResult(
                v.group,
                v.name,
                False,
                1.0,
                1.0,
                tuple(Score(iou, tp - k, fp + k, fn + k, 0.9 * tp) for k, iou in enumerate(IOU)),
            )
            for v, (tp, fp, fn) in zip(base.images, counts, strict=True)
        )
        return Result(Entry(name, "model", "votes"), images, cost)

    results = (
        result("A", [(10, 0, 30), (40, 0, 0)], Cost(1.0, 1.0, 10**9, 5)),
        result("B", [(20, 20, 0), (30, 0, 10)], Cost(1.5, 1.0, 10**9, 5)),
    )
    return Findings.of(replace(base, results=results), out)


IOU = (0.5, 0.6, 0.7, 0.8, 0.9)


def test_cards_say_what_the_numbers_say(out: Path) -> None:
    found = invented(out)
    # A: F1 0.4 on blood, 1 on liver; B: 2/3 and 6/7.
    assert [one.name for one in found.ranked] == ["B", "A"]
    b, a = (card(found, one) for one in found.ranked)
    assert a.place.startswith("Rank 2 of 2: F1@0.5 0.700")
    assert "0.062 behind B" in a.place
    assert "best on liver (1.00)" in a.strengths
    assert "worst on blood (0.40)" in a.weaknesses
    assert "ahead of all others on liver" in a.strengths
    assert "behind all others on blood" in a.weaknesses
    assert "the fastest" in a.strengths
    assert "misses more than it invents (precision 1.00, recall 0.62)" in a.weaknesses
    assert "1.5 times the time of A" in b.weaknesses
    assert not [v for v in a.weaknesses + b.weaknesses if "memory" in v]
    assert [one.name for one in found.front] == ["A", "B"]


def test_label_curves_are_drawn_when_shares_differ(out: Path, tmp_path: Path) -> None:
    found = invented(out)
    assert found.label_curves == {}
    few = replace(
        found.comparison.results[0],
        entry=replace(found.comparison.results[1].entry, share=0.1),
    )
    made = replace(found.comparison, results=(*found.comparison.results, few))
    more = Findings.of(made, out)
    assert list(more.label_curves) == ["B"]
    assert [share for share, _ in more.label_curves["B"]] == [0.1, 1.0]
    shutil.copytree(out / "predictions", tmp_path / "predictions")
    write_report(tmp_path, made)
    assert (tmp_path / "figures" / "labels.png").is_file()
    assert "B, 10 % of labels" in (tmp_path / "report.md").read_text()


def test_several_comparisons_are_put_into_one_table(out: Path, tmp_path: Path) -> None:
    found = invented(out)
    other = replace(found.comparison, budget={**found.comparison.budget, "steps": 7, "crops": 3})
    for name, part in (("one", found.comparison), ("two", other)):
        renamed = tuple(
            replace(v, entry=replace(v.entry, name=f"{v.entry.name} {name}")) for v in part.results
        )
        (tmp_path / name).mkdir()
        replace(part, results=renamed).write(tmp_path / name)
    asked = ["report", str(tmp_path / "one"), str(tmp_path / "two")]
    assert CliRunner().invoke(app, asked).exit_code == 2
    result = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "both")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "both" / "report.md").read_text()
    assert all(f"### {name} {part}" in text for name in "AB" for part in ("one", "two"))
    assert "7 steps of 3 crops" in text
    twice = CliRunner().invoke(app, [*asked[:2], asked[1], "-o", str(tmp_path / "again")])
    assert twice.exit_code == 2
    assert "stands in two" in twice.stderr
    fewer = replace(found.comparison, images=found.comparison.images[:1])
    fewer.write(tmp_path / "two")
    wrong = CliRunner().invoke(app, [*asked, "-o", str(tmp_path / "wrong")])
    assert "other images" in wrong.stderr
