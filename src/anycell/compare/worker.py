"""A process of its own for each training and each segmentation of a comparison.

    python -m anycell.compare.worker JOB.json

Memory, imports and crashes of one contender are then none of another's.  It writes one
JSON object per line on standard output: ``line`` is a word on how far it has come,
``step`` is [done, in all, name], ``result`` or ``error`` comes last.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from anycell.errors import AnycellError, ModelError
from anycell.runs import peak_memory

__all__ = ["main"]

WATCH = 1.0
"""Seconds between looks at whether the process that started this one is still there."""

Say = Callable[[dict[str, Any]], None]


def train_one(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """Train a method, or go on with it."""
    from anycell.methods import Recipe
    from anycell.train import TrainPlan, train

    plan = TrainPlan(
        data=tuple(map(Path, job["data"])),
        out=Path(job["out"]),
        method=job["method"],
        recipe=Recipe(**job["recipe"]),
        learning=job["learning"],
        labels=job["labels"],
        validate_every=job["validate_every"],
        validate_images=job["validate_images"],
        workers=job["workers"],
        threads=job["threads"],
        device=job["device"],
    )
    found = train(plan, lambda line: say({"line": line}))
    if found.step > found.steps:
        raise ModelError(
            f"{plan.out} was trained for {found.step} steps already",
            expected=f"at most the budget of {found.steps}",
            hint="a larger budget, or another output folder",
        )
    return {"step": found.step, "steps": found.steps, "best": found.best}


def segment_all(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """Segment images one by one as a user would; go on where an earlier run was left."""
    began = job["began"]
    from anycell.compare.journal import Journal
    from anycell.model import load_model

    model = load_model(job["model"], threads=job["threads"])
    zoom = _zoom(job, model.diameter)
    start = time.time() - began
    journal = Journal.open(Path(job["journal"]), {"model": model.hash, "zoom": zoom})
    todo = [image for image in job["images"] if not journal.has(image)]
    done = len(job["images"]) - len(todo)
    for image in todo:
        # Labels of another model must not stand in for an image that fails now.
        Path(image["prediction"]).unlink(missing_ok=True)
    if todo:
        _warm_up(todo[0], model, zoom)
        for image in todo:
            try:
                journal.add(image, _segment_one(image, model, zoom))
            except AnycellError as error:
                journal.fail(image, str(error))
            done += 1
            say({"step": [done, len(job["images"]), f"{image['group']}/{image['name']}"]})
        journal.close(start=start, peak=peak_memory())
    about = getattr(model, "about", {})
    return {"model": model.hash, "about": about}


def _zoom(job: dict[str, Any], diameter: float | None) -> float | None:
    """The zoom of all images, None to find it for each."""
    if job["scheme"] == "plan":
        return None
    if job["scheme"] == "none" or diameter is None:
        return 1.0
    return diameter / float(job["diameter"])


def _warm_up(image: dict[str, Any], model: Any, zoom: float | None) -> None:
    """Segment an image for nothing: the first pass is slow, and is not what later ones take."""
    from anycell.files import open_image
    from anycell.segment import segment

    with contextlib.suppress(AnycellError):  # it is met again, and noted, when it counts
        segment(open_image(image["image"]), model, zoom=zoom)


def _segment_one(image: dict[str, Any], model: Any, zoom: float | None) -> dict[str, Any]:
    """Segment an image, write its labels, and tell what it took."""
    from anycell.files import open_image, write_labels
    from anycell.segment import segment

    found = segment(open_image(image["image"]), model, zoom=zoom)
    path = Path(image["prediction"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(found.labels, path)
    return {"seconds": found.seconds["total"], "zoom": found.zoom}


def stop_with(parent: int) -> None:
    """Interrupt this process once the one that started it is gone, so that a training saves.

    Otherwise the same command, given again, would train beside it in the same folder.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str], messages: IO[str]) -> int:
    """Do the job of a file; 1 when it cannot be done."""
    stop_with(os.getppid())
    job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))

    def say(message: dict[str, Any]) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    try:
        result = {"train": train_one, "segment": segment_all}[job["do"]](job, say)
    except AnycellError as error:
        parts = (type(error).__name__, error.found, error.expected, error.hint)
        say({"error": parts})
        return 1
    say({"result": result})
    return 0


if __name__ == "__main__":
    # What libraries print goes to the log; only messages go to the one who listens.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream:
        os.dup2(2, 1)
        sys.exit(main(sys.argv[1:], stream))
