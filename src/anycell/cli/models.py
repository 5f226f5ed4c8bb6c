"""``anycell models``: the models that are there, whether they are whole, and copies of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from anycell.cli.screen import Json, show_error, show_json, show_table
from anycell.errors import ModelError

__all__ = ["ExportModel", "ListModels", "ShowModel", "VerifyModels", "models_app"]

LICENCE = "BSD-3-Clause"
"""Of the package, and of models in it whose file names no other."""


@dataclass(frozen=True)
class ListModels:
    """List the models in the package: method, size, precisions, training data, score.

    The score is that of the validation during training, on a few images of each group;
    anycell models show NAME has the one of all held-out images.
    """

    json: Json = False

    def run(self) -> int:
        """Print a row for each model."""
        from anycell.model import bundled

        rows = [_facts(name) for name in bundled()]
        if self.json:
            show_json({"models": rows})
            return 0
        show_table([key.replace("_", " ") for key in rows[0]], [_shown(row) for row in rows])
        return 0


@dataclass(frozen=True)
class VerifyModels:
    """Hash every file of models again, and run their stored checks.

    Exits with 1 if anything is damaged.
    """

    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names or folders of models; by default all in the package."),
    ] = None
    json: Json = False

    def run(self) -> int:
        """Check each model in each precision on each runtime that is installed."""
        from anycell.model import bundled, model_folder

        rows: list[dict[str, Any]] = []
        damaged: list[ModelError] = []
        for name in self.names or bundled():
            for found in _checks(model_folder(name)):
                if isinstance(found, dict):
                    rows.append(found)
                else:
                    damaged.append(found)
        if self.json:
            show_json({"damaged": [str(error) for error in damaged], "checks": rows})
            return 1 if damaged else 0
        if rows:
            show_table(list(rows[0]), [list(row.values()) for row in rows])
        for error in damaged:
            show_error(error)
        return 1 if damaged else 0


@dataclass(frozen=True)
class ExportModel:
    """Copy a model into a folder, and add 8-bit integers to it if they are asked for.

    MODEL is a bundled model's name, a model's folder, or what `anycell train` wrote.
    """

    model: Annotated[str, typer.Argument(help="Name or folder of a model, or of a training run.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")]
    precision: Annotated[
        str, typer.Option(help="fp32, or int8: also quantized, and used by itself from then on.")
    ] = "fp32"
    calibrate: Annotated[
        Path | None, typer.Option(help="Training data to measure the ranges of int8 on.")
    ] = None
    json: Json = False

    def run(self) -> int:
        """Copy, quantize if wanted, and load what came out."""
        from anycell.errors import SettingError, unknown_name
        from anycell.model import PRECISIONS, copy_model, load_model

        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if (self.precision == "int8") != (self.calibrate is not None):
            raise SettingError(
                f"--precision {self.precision} with{'out' * (self.calibrate is None)} --calibrate",
                expected="training data to measure ranges on for int8, and for nothing else",
                hint="--precision int8 --calibrate DATA",
            )
        run = Path(self.model) / "best"
        source = str(run) if (run / "model.json").is_file() else self.model
        copy_model(source, self.out)
        if self.calibrate is not None:
            from anycell.quantize import export_int8

            export_int8(self.out, self.calibrate)
        made = load_model(self.out, precision=self.precision)
        sizes = {p.name: p.stat().st_size for p in sorted(self.out.iterdir()) if p.is_file()}
        if self.json:
            show_json({"out": self.out, "hash": made.hash, "files": sizes})
            return 0
        for name, size in sizes.items():
            print(f"{self.out / name}  {size / 1e6:.2f} MB")
        return 0


@dataclass(frozen=True)
class ShowModel:
    """Print a model's card: what it was made from, how good it is, where it fails."""

    name: Annotated[str, typer.Argument(help="Name or folder of a model.")]
    json: Json = False

    def run(self) -> int:
        """Print the card, or model.json for --json."""
        from anycell.model import model_folder, read_about

        folder = model_folder(self.name)
        about = read_about(folder)
        card = folder / "card.md"
        if self.json:
            show_json(about)
        elif about["sha256"] in (text := _read(card)):
            print(text.rstrip())
        else:
            which = "a card of other weights" if text else "no card"
            print(f"{folder.resolve().name} has {which}; this is known about it:")
            for key, value in _facts(self.name).items():
                print(f"  {key.replace('_', ' '):<14}{_text(value)}")
        return 0


def _read(card: Path) -> str:
    return card.read_text(encoding="utf-8") if card.is_file() else ""


def _facts(name: str) -> dict[str, Any]:
    """What a row of the list says about a model."""
    from anycell.model import DEFAULT, PRECISIONS, bundled, model_folder, precisions, read_about

    folder = model_folder(name)
    about = read_about(folder)
    there = precisions(about)
    scores = about.get("validation", {}).get("f1@0.5", {})
    return {
        "model": folder.resolve().name,
        "default": name == DEFAULT,
        "method": about.get("method"),
        "parameters": about.get("parameters"),
        "megabytes": {p: round((folder / PRECISIONS[p][0]).stat().st_size / 1e6, 2) for p in there},
        "precisions": list(there),
        "trained_on": about.get("trained_on", []),
        "licence": about.get("licence", LICENCE if name in bundled() else None),
        "F1@0.5_in_training": round(sum(scores.values()) / len(scores), 3) if scores else None,
        "sha256": about["sha256"][:16],
    }


def _checks(folder: Path) -> Iterator[dict[str, Any] | ModelError]:
    """Check each graph on every runtime; a row for what is whole, an error for what is not."""
    from anycell.model import (
        PRECISIONS,
        Model,
        check_difference,
        load_model,
        precisions,
        read_about,
    )
    from anycell.runtimes import installed

    try:
        there = sorted(precisions(read_about(folder)))
    except ModelError as error:
        yield error
        return
    for precision, runtime in product(there, installed()):
        try:
            model = load_model(folder, precision=precision, runtime=runtime)
            assert isinstance(model, Model)
            off = check_difference(model, folder)
        except ModelError as error:
            yield error
            continue
        yield {
            "model": model.name,
            "precision": precision,
            "runtime": runtime,
            "sha256": model.hash,
            "difference": f"{off:.3%}",
            "allowed": f"{PRECISIONS[precision][2]:.0%}",
        }


def _shown(row: dict[str, Any]) -> list[str]:
    return [f"{len(v)} groups" if k == "trained_on" else _text(v) for k, v in row.items()]


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value)) or "-"
        case dict():
            return ", ".join(f"{v} ({k})" for k, v in value.items())
        case _:
            return str(value)


models_app = typer.Typer(no_args_is_help=True, help="List, verify, export and show models.")
for name, kind in (
    ("list", ListModels),
    ("verify", VerifyModels),
    ("export", ExportModel),
    ("show", ShowModel),
):
    models_app.command(name)(kind)
