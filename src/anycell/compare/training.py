"""Trainings of a comparison: which there are, and each brought to its end once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from anycell.compare.curves import read_curve
from anycell.compare.entries import Entry
from anycell.compare.plan import ComparePlan
from anycell.compare.processes import run_job
from anycell.errors import ModelError
from anycell.files.damage import replacing
from anycell.methods import Recipe, method
from anycell.runs import plain

__all__ = ["Training", "trainings"]


@dataclass(frozen=True)
class Training:
    """A method, trained with one seed in one way.

    Attributes
    ----------
    entry : what it makes, its zoom scheme aside.
    out : folder of the run.
    """

    entry: Entry
    out: Path

    @property
    def title(self) -> str:
        """What to call it in lines of progress."""
        return f"{self.entry.contender}, seed {self.entry.seed}"

    def run(self, plan: ComparePlan, line: Callable[[str], None], log: Path) -> Mapping[str, Any]:
        """Train to the end unless that was done; give steps, best F1 and seconds.

        Raises
        ------
        AnycellError : as the training raised it; ModelError when the folder holds another.
        KeyboardInterrupt : the training was interrupted, and has saved its state.
        """
        job = self.job(plan)
        facts = _finished(self.out, job)
        if facts is not None:
            line(f"{self.title}: trained already")
            return facts
        line(f"{self.title}: training {plan.budget} steps")

        def say(message: Mapping[str, Any]) -> None:
            line(f"{self.title}: {message.get('line', '')}")

        found = run_job(job, log, say)
        if found["step"] < found["steps"]:
            raise KeyboardInterrupt
        facts = {**found, "seconds": read_curve(self.out)[-1]["seconds"], "job": _essence(job)}
        with replacing(self.out / "trained.json") as draft:
            draft.write_text(json.dumps(plain(facts), indent=1) + "\n", encoding="utf-8")
        return facts

    def job(self, plan: ComparePlan) -> dict[str, Any]:
        """The training as the worker takes it."""
        entry = self.entry
        return {
            "do": "train",
            "data": [str(path.resolve()) for path in plan.data],
            "out": str(self.out),
            "method": entry.method,
            "recipe": asdict(plan.recipe_of(entry.method, entry.seed or 1)),
            "learning": entry.learning,
            "labels": entry.share,
            "validate_every": plan.every,
            "validate_images": plan.validate_images,
            "workers": plan.workers,
            "threads": plan.threads,
            "device": plan.device,
        }


def trainings(plan: ComparePlan, simulation: bool) -> Iterator[Training]:
    """List the trainings of a plan, all methods with the first seed first.

    Parameters
    ----------
    simulation : whether simulated images are among those learned from.
    """
    for seed, name in product(range(1, plan.seeds + 1), plan.trained):
        ways = product(plan.learning or (method(name).learning,), plan.shares)
        for learning, share in ways:
            entry = Entry(name, "method", name, seed, share, learning, simulation)
            folder = replace(entry, seed=None).slug
            yield Training(entry, plan.out / "runs" / folder / f"seed-{seed}")


def _finished(out: Path, job: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is known of a training that has come to its end; None when it has not.

    Raises
    ------
    ModelError : the folder holds a training of other settings.
    """
    path = out / "trained.json"
    if not path.is_file() or not (out / "best" / "model.json").is_file():
        return None
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    asked, had = _essence(job), known["job"]
    # A setting that there was not yet keeps things as they were; the optimizer was another.
    had = {**had, "recipe": {**plain(asdict(Recipe())), "optimizer": "adamw", **had["recipe"]}}
    if had == asked:
        return known
    steps = had["recipe"]["steps"]
    other = [f"{k} {had.get(k)}" for k in asked if k != "recipe" and had.get(k) != asked[k]]
    recipe = {k: v for k, v in had["recipe"].items() if asked["recipe"].get(k) != v}
    if not other and list(recipe) == ["steps"] and steps < asked["recipe"]["steps"]:
        return None  # to be prolonged
    raise ModelError(
        f"{out} holds a training with {', '.join(other + [f'{k} {v}' for k, v in recipe.items()])}",
        expected="the same data and settings, and no more steps than the budget",
        hint="another output folder",
    )


def _essence(job: Mapping[str, Any]) -> dict[str, Any]:
    """What decides on the weights."""
    names = ("data", "method", "recipe", "learning", "labels")
    essence: dict[str, Any] = plain({k: job[k] for k in names})
    return essence
