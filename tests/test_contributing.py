"""The example in CONTRIBUTING.md: run as it stands there, under the contract."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import test_representations as contract
from anycell.methods import METHODS, method
from anycell.representations import REPRESENTATIONS, Representation, representation
from anycell.segment import segment
from anycell.turns import TURNS, Turn
from cells import CELLS, enlarge
from truth import disks, same_cells, truth

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## How many lines a new representation takes")[2].partition("\n## ")[0]
CODE, ENTRIES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
# Cells that touch are one piece; a piece that the frame or a corner cuts stays a piece.
APART = ["one", "two", "C-shape", "spiral", "single pixel", "thin", "cut by the edge"]


@pytest.fixture
def rep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Representation:
    """The example's class, as the table would give it."""
    (tmp_path / "apart.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "apart", raising=False)
    monkeypatch.setitem(REPRESENTATIONS, "apart", "apart:Apart")
    return representation("apart")


def test_the_text_counts_its_lines() -> None:
    (stated,) = re.findall(r"takes (\d+) lines", SECTION)
    assert CODE.count("\n") == int(stated)
    assert max(len(line) for line in CODE.splitlines()) <= 100


def test_its_entries_are_those_of_the_tables(rep: Representation) -> None:
    entry, row = ENTRIES.strip().splitlines()
    name, place = re.findall(r'"([^"]+)"', entry)
    assert (name, place) == (rep.name, "anycell.representations.apart:Apart")
    first, network, second, summary, reference = re.findall(r'"([^"]+)"', row)
    assert first == second == rep.name
    made = replace(METHODS["votes"], name=first, network=network, representation=second)
    assert representation(made.representation) == rep
    assert method("votes").network == network
    assert summary
    assert reference


@pytest.mark.parametrize("picture", APART)
def test_cells_apart_come_back(rep: Representation, picture: str) -> None:
    contract.test_a_round_trip_gives_the_cells_back(rep, picture)
    contract.test_a_second_round_trip_changes_nothing(rep, picture)


def test_cells_that_touch_are_one_as_the_text_says(rep: Representation) -> None:
    assert contract.round_trip(rep, enlarge(CELLS["touching"], 8)).max() == 1


@pytest.mark.parametrize(
    "rule",
    [
        contract.test_no_cells_stay_no_cells,
        contract.test_decoding_noise_gives_valid_labels,
        contract.test_more_cells_than_16_bits_hold,
        contract.test_the_loss_is_least_at_the_truth,
        contract.test_ignored_pixels_do_not_count_in_the_loss,
    ],
)
def test_it_keeps_the_contract(rep: Representation, rule: Callable[[Representation], None]) -> None:
    rule(rep)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_it_turns(rep: Representation, turn: Turn) -> None:
    labels = enlarge(CELLS["two"], 6)
    turned = np.ascontiguousarray(turn.plane(labels))
    fields = rep.turn(rep.encode(labels), turn)
    assert np.array_equal(fields, rep.encode(turned))
    assert same_cells(rep.decode(fields, turned.shape), turned)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 2), (31, 64)])
def test_it_takes_any_size(rep: Representation, shape: tuple[int, int]) -> None:
    contract.test_fields_have_the_stated_shape_at_any_size(rep, shape)


def test_it_segments_in_tiles_as_the_text_says(rep: Representation) -> None:
    labels = disks((150, 140), 25, (6, 7), 6, gap=3)
    image, predictor = truth(labels, representation=rep)
    found = segment(image, predictor, core=50)
    assert found.tiles > 4
    assert same_cells(found.labels, labels)
    assert (found.confidence > 0.9).all()
    assert np.isfinite(found.confidence).all()
