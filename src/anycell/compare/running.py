"""Comparing: train, segment, score; one entry after the other, each kept when it is done.

Trainings and segmentations run in processes of their own (``worker``), so that their
memory is told apart and one that breaks leaves the others alone.  What is done is not
done again: a training that has come to its end, an image whose labels were made by the
same model with the same settings.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from anycell import __version__
from anycell.compare.comparison import Comparison, HeldOut
from anycell.compare.entries import Cost, Entry, ImageResult, Result
from anycell.compare.journal import Journal
from anycell.compare.machine import machine
from anycell.compare.plan import ComparePlan, find_all, find_held_out, is_simulated
from anycell.compare.processes import run_job
from anycell.compare.training import Training, trainings
from anycell.errors import AnycellError, OutputError, SettingError
from anycell.evaluate import judge
from anycell.methods import METHODS
from anycell.pairing import Truth, pair_files
from anycell.runs import Clock, command_line, make_folder
from anycell.samples import Sample

__all__ = ["Watch", "compare"]

LIBRARIES = ("numpy", "scipy", "scikit-image", "onnxruntime", "torch")


@dataclass(frozen=True)
class Watch:
    """Who wants to know how far it has come.

    Attributes
    ----------
    line : is called with a line of plain text now and then.
    step : with images done, images in all, the last one's name.
    """

    line: Callable[[str], None] = lambda text: None
    step: Callable[[int, int, str], None] = lambda done, total, name: None


def compare(plan: ComparePlan, watch: Watch | None = None) -> Comparison:
    """Train, segment and score everything that a plan names.

    An entry that fails stands in the result with its error; the others go on.

    Raises
    ------
    InputError : no held-out images.
    SettingError : methods to train, and torch is not installed.
    OutputError : results cannot be written.
    """
    if plan.trained:
        _need_torch()
    clock = Clock()
    samples = find_all(plan.data)
    held = find_held_out(samples)
    make_folder(plan.out)
    course = _Course(plan, held, samples, watch or Watch())
    made = Comparison(
        rules=plan.rules,
        images=held,
        results=(),
        budget=_budget(plan),
        machine=machine(plan.threads),
        versions=_versions(),
        command=tuple(command_line()),
        date=clock.date,
    )
    for result in course.run():
        made = replace(made, results=(*made.results, result))
        made.write(plan.out)
    return made


@dataclass(frozen=True)
class _Course:
    """What all entries have in common."""

    plan: ComparePlan
    held: tuple[HeldOut, ...]
    samples: tuple[Sample, ...]
    watch: Watch
    truths: list[Truth] = field(init=False)

    def __post_init__(self) -> None:
        truths = [Truth(v.group, v.name, Path(v.labels), v.modality) for v in self.held]
        object.__setattr__(self, "truths", truths)

    def run(self) -> Iterator[Result]:
        """Do entries in order of what they cost, all methods with the first seed first."""
        plan = self.plan
        for name, folder in plan.predictions:
            entry = Entry(name, "predictions", zoom="")
            yield self._kept(entry, partial(self._foreign, entry, folder))
        for name, model in self._models():
            for scheme in plan.zoom_schemes:
                entry = Entry(name, "model", zoom=scheme)
                yield self._kept(entry, partial(self._segmented, entry, model))
        taught = {s.group for s in self.samples if s.teaches}
        for training in trainings(plan, is_simulated(taught)):
            yield from self._trained(training)

    def _models(self) -> list[tuple[str, str]]:
        """The models that there are, and the methods that need no training."""
        ready = [(name, name) for name in self.plan.methods if name not in self.plan.trained]
        return [*ready, *self.plan.models]

    def _kept(self, entry: Entry, make: Callable[[], Result]) -> Result:
        """The result, or why there is none."""
        self.watch.line(f"{_title(entry)}: judging")
        try:
            result = make()
        except OutputError:
            raise
        except AnycellError as error:
            result = Result(entry, error=str(error))
        self.watch.line(f"{_title(result.entry)}: {_outcome(result)}")
        return result

    def _trained(self, training: Training) -> Iterator[Result]:
        """Train, then segment with the model by each zoom scheme."""
        log = self.plan.out / "logs" / f"train-{training.entry.slug}.log"
        failed = ""
        facts: Mapping[str, Any] = {}
        try:
            facts = training.run(self.plan, self.watch.line, log)
        except OutputError:
            raise
        except AnycellError as error:
            failed = str(error)
        for scheme in self.plan.zoom_schemes:
            own = replace(training.entry, zoom=scheme)
            if failed:
                yield self._kept(own, partial(Result, own, error=failed))
            else:
                yield self._kept(own, partial(self._priced, own, training.out, facts))

    def _priced(self, entry: Entry, run: Path, facts: Mapping[str, Any]) -> Result:
        """Segment with a trained model, and add what its training took."""
        result = self._segmented(entry, str(run / "best"))
        cost = replace(result.cost, train_seconds=facts["seconds"], steps=facts["steps"])
        return replace(result, cost=cost, run=str(run.relative_to(self.plan.out)))

    def _segmented(self, entry: Entry, model: str) -> Result:
        """Segment all images in a process of their own, and score them."""
        folder = self.plan.out / "predictions" / entry.slug
        job = {
            "do": "segment",
            "model": model,
            "threads": self.plan.threads,
            "scheme": entry.zoom,
            "diameter": self._diameter(),
            "journal": str(folder / "segmented.jsonl"),
            "images": [
                {
                    "group": v.group,
                    "name": v.name,
                    "image": v.image,
                    "prediction": str(folder / v.group / f"{v.name}_label.tiff"),
                }
                for v in self.held
            ],
        }
        log = self.plan.out / "logs" / f"{entry.slug}.log"
        found = run_job(job, log, self._say(_title(entry)))
        journal = Journal.read(folder / "segmented.jsonl")
        about = found["about"]
        if entry.kind == "model":
            entry = _described(entry, about)
        failed = "".join(f"\n{name}: {why}" for name, why in journal.failed.items())
        return Result(
            entry=entry,
            images=self._scored(folder, journal.images),
            cost=Cost(
                seconds_per_mp=self._pace(journal),
                start_seconds=journal.start,
                peak_memory=journal.peak,
                parameters=about.get("parameters", 0),
                steps=about.get("step"),
            ),
            model=found["model"],
            predictions=str(folder.relative_to(self.plan.out)),
            error=f"{len(journal.failed)} images failed:{failed}" if failed else "",
        )

    def _foreign(self, entry: Entry, folder: Path) -> Result:
        """Score the files of another tool."""
        return Result(entry, self._scored(folder, {}), predictions=str(folder.resolve()))

    def _scored(
        self, folder: Path, timings: Mapping[str, Mapping[str, Any]]
    ) -> tuple[ImageResult, ...]:
        """Score a folder of predictions; a missing one is full of misses."""
        return tuple(
            ImageResult.of(
                judge(truth, file, self.plan.rules), timings.get(f"{truth.group}/{truth.name}", {})
            )
            for truth, file in pair_files(folder, self.truths)
        )

    def _pace(self, journal: Journal) -> float | None:
        """Median seconds per megapixel of the images that are timed."""
        sizes = {f"{v.group}/{v.name}": v.megapixels for v in self.held}
        found = [v["seconds"] / sizes[k] for k, v in journal.images.items() if k in sizes]
        return float(np.median(found)) if found else None

    def _diameter(self) -> float:
        """Median over images of the median diameter of their true cells, pixels."""
        found = [image.diameter for image in self.held if image.diameter]
        return float(np.median(found)) if found else 1.0

    def _say(self, title: str) -> Callable[[Mapping[str, Any]], None]:
        def say(message: Mapping[str, Any]) -> None:
            if "step" in message:
                done, total, name = message["step"]
                self.watch.step(done, total, f"{title}: {name}")
            else:
                self.watch.line(f"{title}: {message.get('line', '')}")

        return say


def _described(entry: Entry, about: Mapping[str, Any]) -> Entry:
    """An entry of a model with what its model.json says of its training."""
    trained = about.get("trained_on")
    return replace(
        entry,
        method=about.get("method", entry.name if entry.name in METHODS else ""),
        seed=about.get("recipe", {}).get("seed"),
        share=float(about.get("label_share", 1.0)),
        learning=about.get("learning", "supervised" if trained else ""),
        simulation=None if trained is None else is_simulated(trained),
    )


def _title(entry: Entry) -> str:
    seed = "" if entry.seed is None else f", seed {entry.seed}"
    return entry.contender + seed


def _outcome(result: Result) -> str:
    if not result.images:
        return "failed\n    " + result.error.replace("\n", "\n    ")
    groups = sorted({image.group for image in result.images})
    f1 = np.mean(
        [np.mean([v.scores[0].values.f1 for v in result.images if v.group == g]) for g in groups]
    )
    low = result.images[0].scores[0].iou
    more = f"; {result.error}" if result.error else ""
    return f"F1@{low:g} {f1:.4f}, mean over {len(groups)} groups{more}"


def _budget(plan: ComparePlan) -> dict[str, Any]:
    """What the trainings have in common; None where nothing is trained."""
    first = plan.recipe_of(plan.trained[0], 1) if plan.trained else None
    return {
        "steps": plan.budget if first else None,
        "crops": first.crops if first else None,
        "side": first.side if first else None,
        "seeds": plan.seeds,
        "recipe": dict(plan.recipe),
        "validate_every": plan.every,
        "validate_images": plan.validate_images,
        "device": plan.device,
        "data": [str(path) for path in plan.data],
    }


def _versions() -> dict[str, str]:
    found = {"anycell": __version__, "python": sys.version.split()[0]}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise SettingError(
            "training needs torch, which is not installed",
            expected="the packages of the extra 'train'",
            hint="pip install 'anycell[train]'",
        )
