"""From raw confidence to the chance that a cell is right."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anycell.confidence import RAW, ConfidenceMap, fit_logistic, reliability
from anycell.errors import ModelError
from anycell.labels import Labels
from anycell.model import DEFAULT, load_model, model_folder
from anycell.segment import segment
from anycell.views import Averaged
from truth import Truth, disks, truth

BENT = ConfidenceMap((0.0, 0.5, 1.0), (0.1, 0.2, 0.9))


def test_points_are_joined_by_straight_lines() -> None:
    found = BENT(np.array([0.0, 0.25, 0.5, 0.75, 1.0], dtype=np.float32))
    assert found.dtype == np.float32
    assert found == pytest.approx([0.1, 0.15, 0.2, 0.55, 0.9])
    assert BENT.at(0.25) == pytest.approx(0.15)


def test_no_points_change_nothing() -> None:
    raw = np.random.default_rng(0).random(9).astype(np.float32)
    assert np.array_equal(RAW(raw), raw)
    assert ConfidenceMap.of(None) == RAW
    assert ConfidenceMap.of({"raw": [0, 0.5, 1], "chance": [0.1, 0.2, 0.9]}) == BENT


@pytest.mark.parametrize(
    ("raw", "chance"),
    [
        ((0.0, 1.0), (0.5, 0.5)),
        ((0.0, 0.5, 0.5, 1.0), (0.0, 0.1, 0.2, 1.0)),
        ((0.1, 1.0), (0.0, 1.0)),
        ((0.0, 1.0), (-0.1, 1.0)),
        ((0.0, 1.0), (0.0, 1.1)),
        ((0.0, 1.0), (0.0,)),
        ((0.0,), (0.0,)),
    ],
)
def test_what_does_not_rise_from_0_to_1_is_refused(
    raw: tuple[float, ...], chance: tuple[float, ...]
) -> None:
    with pytest.raises(ModelError, match="confidence map"):
        ConfidenceMap(raw, chance)


def test_the_fit_finds_the_curve_that_made_the_cells() -> None:
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.02, 0.98, 60_000)
    chance = 1 / (1 + np.exp(-(1.7 * np.log(raw / (1 - raw)) - 0.8)))
    right = rng.random(len(raw)) < chance
    fitted = fit_logistic(raw, right, np.ones(len(raw)), np.linspace(0.05, 0.95, 19))
    assert fitted(raw.astype(np.float32)) == pytest.approx(chance, abs=0.02)
    before, after = (reliability(v, right)[0] for v in (raw, fitted(raw.astype(np.float32))))
    assert before > 0.05
    assert after < 0.01


def test_weights_count_as_cells() -> None:
    raw, right = np.array([0.3, 0.6, 0.6, 0.9]), np.array([0, 0, 1, 1])
    twice = fit_logistic(np.repeat(raw, 2), np.repeat(right, 2), np.ones(8), [0.5])
    heavy = fit_logistic(
        np.concatenate([raw, raw]), np.concatenate([right, 1 - right]), np.repeat([1, 1e-9], 4),
        [0.5],
    )  # fmt: skip
    assert heavy.chance == pytest.approx(twice.chance, abs=1e-4)


def test_a_map_that_is_as_good_as_a_step_still_rises() -> None:
    raw = np.linspace(0.0, 1.0, 4001)
    steep = fit_logistic(
        raw, raw > 0.6, np.ones(len(raw)), [*np.linspace(0.025, 0.975, 39), 0.1 + 0.15]
    )
    assert steep.at(0.55) < 0.2
    assert steep.at(0.65) > 0.8
    assert (np.diff(steep(raw.astype(np.float32))) > 0).all()


def test_a_confidence_that_says_the_contrary_is_refused() -> None:
    raw = np.linspace(0.01, 0.99, 200)
    with pytest.raises(ModelError, match="falls"):
        fit_logistic(raw, raw < 0.5, np.ones(200), [0.5])


def test_reliability_of_drawn_cells() -> None:
    chance = np.array([0.25, 0.25, 0.25, 0.25, 0.95, 1.0])
    right = np.array([1, 0, 0, 0, 1, 0])
    error, rows = reliability(chance, right)
    assert rows == [(0.25, 0.25, 4), (0.975, 0.5, 2)]
    assert error == pytest.approx(0.475 * 2 / 6)


def labels_and_predictor() -> tuple[Labels, Truth]:
    labels = disks((160, 160), 12, (4, 9), 5)
    image, predictor = truth(labels)
    plain = type(predictor.representation)

    class Tenths(plain):  # type: ignore[misc, valid-type]
        def confidence(self, outputs: object, labels: object) -> object:
            return plain.confidence(self, outputs, labels) / 100

    return image, replace(predictor, representation=Tenths())


def test_segment_reports_chances_and_takes_limits_as_chances() -> None:
    image, predictor = labels_and_predictor()
    plain = segment(image, predictor, min_confidence=0.035)

    class Mapped(type(predictor)):  # type: ignore[misc]
        confidence_map = BENT

    mapped = Mapped(**vars(predictor))
    found = segment(image, mapped, min_confidence=BENT.at(0.035))
    assert np.array_equal(found.labels, plain.labels)
    assert found.confidence == pytest.approx(BENT(plain.confidence))
    assert len(plain.confidence) < len(segment(image, predictor).confidence)


def test_a_models_own_limit_is_carried_through_its_map(tmp_path: Path) -> None:
    """The same cells come out, whatever the map; only what is said of them changes."""
    folder = shutil.copytree(model_folder(DEFAULT), tmp_path / "mine")
    path = Path(folder) / "model.json"
    about = json.loads(path.read_text())
    about.pop("confidence", None)
    image = np.kron(disks((160, 160), 12, (4, 9), 5) > 0, np.ones((2, 2)))
    image = image + np.random.default_rng(0).normal(0, 0.3, image.shape)
    found = []
    for entry in (None, {"raw": [0, 0.3, 1], "chance": [0.01, 0.6, 0.97]}):
        path.write_text(json.dumps(about | ({"confidence": entry} if entry else {})))
        model = load_model(folder)
        limit = ConfidenceMap.of(entry).at(about["min_confidence"])
        assert model.min_confidence == pytest.approx(limit)
        found.append(segment(image, model, zoom=1.0))
        assert (found[-1].confidence >= model.min_confidence).all()
    assert found[0].labels.max() > 3
    assert np.array_equal(found[0].labels, found[1].labels)
    wanted = ConfidenceMap((0, 0.3, 1), (0.01, 0.6, 0.97))(found[0].confidence)
    assert found[1].confidence == pytest.approx(wanted)


def test_averaging_keeps_the_map_but_distances_from_belief_are_no_chances() -> None:
    _, predictor = labels_and_predictor()

    class Mapped(type(predictor)):  # type: ignore[misc]
        confidence_map = BENT

    mapped = Mapped(**vars(predictor))
    assert Averaged(mapped).confidence_map == BENT
    assert Averaged(mapped, strict=True).confidence_map == RAW
