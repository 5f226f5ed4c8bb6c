"""Segment held-out images with several models, score them, and put the table in README.md.

    python scripts/score_table.py DATA/validate OUT --models general classical

The predictions and scores of each model go to OUT/MODEL; what stood between the marks
``<!-- scores -->`` and ``<!-- /scores -->`` is replaced, with date, commit and command.
"""

from __future__ import annotations

import argparse
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from anycell.evaluate import Evaluation, evaluate
from anycell.folders import FolderSettings, segment_files
from anycell.model import load_model
from anycell.tasks import find_tasks

README = Path(__file__).resolve().parents[1] / "README.md"
OPEN, CLOSE = "<!-- scores -->", "<!-- /scores -->"


def judge(data: Path, out: Path, name: str) -> tuple[Evaluation, float]:
    """Segment and score one model; give the scores and the seconds per megapixel."""
    results = segment_files(find_tasks([data], out), out, load_model(name), FolderSettings())
    failed = [r for r in results if r.status == "failed"]
    if failed:
        raise SystemExit(f"{len(failed)} files failed, the first: {failed[0].error}")
    found = evaluate(out, data)
    found.to_csv(out / "scores.csv")
    found.to_json(out / "scores.json")
    return found, sum(r.seconds for r in results)


def table(found: dict[str, Evaluation]) -> list[str]:
    """Rows of Markdown: F1 at IoU 0.5 per group, mean over images, and over groups."""
    first = next(iter(found.values()))
    lines = ["| group | images | " + " | ".join(found) + " |", "|---|---:|" + "---:|" * len(found)]
    for group in first.groups:
        values = [f"{v.groups[group][0].mean.f1:.3f}" for v in found.values()]
        images = sum(v.group == group for v in first.images)
        lines.append(f"| {group} | {images} | " + " | ".join(values) + " |")
    means = [f"**{v.over_groups[0].mean.f1:.3f}**" for v in found.values()]
    lines.append(f"| mean over groups | {len(first.images)} | " + " | ".join(means) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=["general", "classical"])
    asked = parser.parse_args()
    judged = {name: judge(asked.data, asked.out / name, name) for name in asked.models}
    found = {name: evaluation for name, (evaluation, _) in judged.items()}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    models = ", ".join(f"{name} {seconds:.0f} s in all" for name, (_, seconds) in judged.items())
    intro = (
        "F1 at IoU 0.5, mean over the images of each group, rules of the NeurIPS 2022 challenge,"
        f" {datetime.now(UTC).date()}, commit {commit} ({models}). No option was given. No image"
        " was trained on; codex_expert and dsb2018_stage1test are further images of experiments"
        " that were."
    )
    command = "python scripts/score_table.py DATA/validate OUT --models " + " ".join(found)
    made = [intro, "", *table(found), "", f"Made by `{command}`."]
    print("\n".join(made))
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(OPEN)
    _, _, after = rest.partition(CLOSE)
    filled = "\n".join([before + OPEN, *made, CLOSE + after])
    README.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
