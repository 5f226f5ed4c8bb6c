"""``anycell data``: data sets of others, fetched and laid out to train and judge with."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anycell.cli.screen import Json, Quiet, counted, show_json
from anycell.errors import SettingError, unknown_name
from anycell.runs import Clock, make_folder, write_run

if TYPE_CHECKING:
    from anycell.datasets.fetch import Record
    from anycell.datasets.listing import Listing
    from anycell.datasets.neurips2022 import Plan

__all__ = ["Data"]

NAMES = ("neurips2022",)
EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""


@dataclass(frozen=True)
class Data:
    """Download a data set of others, and lay it out for train and evaluate.

    It asks before anything is downloaded, and goes on where it was broken off.
    """

    name: Annotated[str, typer.Argument(help="Which: neurips2022.")]
    out: Annotated[Path, typer.Argument(help="Folder to write to.")]
    parts: Annotated[
        str, typer.Option(help="Which parts: labeled,tuning,testing,unlabeled,slides.")
    ] = "labeled,tuning"
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree to licence and size.")] = False
    url: Annotated[
        str | None, typer.Option(help="A mirror's API in place of https://zenodo.org/api.")
    ] = None
    offline: Annotated[
        bool, typer.Option("--offline", help="Use the archives in OUT/archives as they are.")
    ] = False
    quiet: Quiet = False
    json: Json = False

    def run(self) -> int:
        """Ask, fetch, unpack, and say what is there."""
        from anycell.datasets import neurips2022
        from anycell.datasets.fetch import read_record

        clock = Clock()
        if self.name not in NAMES:
            raise unknown_name("data set", self.name, NAMES)
        record = None
        if not self.offline:
            record = read_record(self.url or neurips2022.ZENODO, neurips2022.RECORD)
        parts = [word.strip() for word in self.parts.split(",")]
        planned = neurips2022.plan(self.out, parts, record)
        self.ask(planned, record)
        make_folder(self.out)
        found = neurips2022.prepare(planned, _Bytes(quiet=self.quiet or self.json))
        settings = {"name": self.name, "parts": parts, "record": neurips2022.RECORD}
        settings |= {"license": neurips2022.LICENSE, "steps": [asdict(v) for v in planned.steps]}
        write_run(self.out, clock, settings=settings)
        self.show(found)
        return 0

    def ask(self, planned: Plan, record: Record | None) -> None:
        """Show licence and sizes, and have them agreed to when something is to be fetched.

        Raises
        ------
        SettingError : nobody is there to ask, or the answer was no.
        """
        from anycell.datasets.neurips2022 import LICENSE

        if record is not None and not (self.quiet and self.yes):
            print(f"{record.title or self.name}", file=sys.stderr)
            print(f"licence: {LICENSE}", file=sys.stderr)
            if record.license and not record.license.startswith("cc-by-nc-nd"):
                print(f"the record itself says: {record.license}", file=sys.stderr)
            for step in planned.steps:
                size = step.remote.size if step.remote else 0
                left = "unpacked before" if step.done else f"{step.to_fetch:,} to download"
                print(f"  {step.archive.name}  {size:,} bytes, {left}", file=sys.stderr)
        if self.yes or planned.to_fetch == 0:
            return
        wanted = f"{planned.to_fetch / 1e9:.2f} GB to download"
        if not _somebody_there():
            raise SettingError(
                f"{wanted}, and nobody to ask",
                expected="agreement to licence and size",
                hint="--yes",
            )
        if not typer.confirm(f"{wanted} to {self.out}. Agree to the licence and go on?", err=True):
            raise SettingError(f"{wanted} not agreed to; nothing was downloaded")

    def show(self, found: Listing) -> None:
        """Say how many images there are of each use, and what was left out."""
        uses = Counter(row["use"] for row in found.rows)
        if self.json:
            left_out = [{"image": path, "reason": reason} for path, reason in found.left_out]
            show_json({"out": self.out, "images": uses, "cells": found.cells, "left_out": left_out})
            return
        for path, reason in found.left_out:
            print(f"left out: {path}: {reason}", file=sys.stderr)
        if not self.quiet:
            told = ", ".join(f"{number:,} {use}" for use, number in sorted(uses.items()))
            cells = counted(found.cells, "labeled cell")
            print(f"{counted(len(found.rows), 'image')} ({told}), {cells} -> {self.out}")
            print(f"{self.out / 'archives'} is not needed any more")


def _somebody_there() -> bool:
    return sys.stdin.isatty()


@dataclass
class _Bytes:
    """Progress of long things: one line on a terminal, else a line now and then."""

    quiet: bool
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, name: str, done: int, total: int) -> None:
        """Say how far it is."""
        now = time.monotonic()
        first = name not in self.last
        if self.quiet or (done < total and not first and now - self.last[name] < self.pause):
            return
        self.last[name] = now
        share = 100 * done / max(1, total)
        counts = f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB" if total > 10**6 else f"{done:,}"
        line = f"{name}: {share:3.0f} %  {counts}"
        if sys.stderr.isatty():
            print(
                f"\r\x1b[2K{line}", end="\n" if done >= total else "", file=sys.stderr, flush=True
            )
        else:
            print(line, file=sys.stderr, flush=True)

    @property
    def pause(self) -> float:
        """Seconds between two lines."""
        return 0.2 if sys.stderr.isatty() else EVERY
