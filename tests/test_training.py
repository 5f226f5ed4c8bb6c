"""Crops, augmentation and training on a small simulated folder; resume must be exact."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from anycell.errors import InputError, ModelError, SettingError
from anycell.files import read_labels, write_labels
from anycell.methods import METHODS, Recipe, method
from anycell.representations import representation
from anycell.samples import find_samples

torch = pytest.importorskip("torch")
from anycell.augment import Photometry, photometric  # noqa: E402
from anycell.batches import Batches, Cropping  # noqa: E402
from anycell.train import TrainPlan, train  # noqa: E402

SMALL = Recipe(steps=6, crops=2, side=64, warm_up=2, seed=5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of three images of bright disks, with exact labels."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    for group in ("dim", "bright"):
        (root / group / "images").mkdir(parents=True)
        (root / group / "labels").mkdir()
        for k in range(3):
            labels = np.zeros((96, 96), np.int32)
            for number, (cy, cx) in enumerate(random.uniform(12, 84, (6, 2)), start=1):
                labels[((y - cy) ** 2 + (x - cx) ** 2 < 80) & (labels == 0)] = number
            image = 40 + (100 if group == "dim" else 180) * (labels > 0)
            image = np.clip(image + random.normal(0, 6, labels.shape), 0, 255)
            Picture.fromarray(image.astype(np.uint8)).save(root / group / "images" / f"{k}.png")
            write_labels(labels, root / group / "labels" / f"{k}.tif")
    return root


def batches(data: Path, seed: int = 1) -> Batches:
    return Batches(
        tuple(s for s in find_samples(data) if s.labels),
        representation("votes"),
        Cropping(side=96, count=4),
        Photometry(),
        seed,
    )


def test_a_batch_depends_on_seed_and_step_alone(data: Path) -> None:
    one, again, other = batches(data), batches(data), batches(data, seed=2)
    _ = one[0]
    assert torch.equal(one[3].images, again[3].images)
    assert torch.equal(one[3].targets, again[3].targets)
    assert not torch.equal(one[3].images, other[3].images)
    assert not torch.equal(one[3].images, one[4].images)


def test_images_and_labels_are_cut_and_turned_together(data: Path) -> None:
    plain = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 0.0))
    made = Batches(
        tuple(s for s in find_samples(data) if s.labels),
        representation("votes"),
        Cropping(side=96, count=8),
        plain,
        seed=1,
    )
    batch = made[0]
    inside = batch.images[:, 0][batch.labels > 0]
    outside = batch.images[:, 0][batch.labels == 0]
    assert batch.labels.max() > 0
    assert inside.mean() > outside.mean() + 0.5
    # Off the outline by more than a pixel there is no overlap of the two at all.
    assert (inside > outside.mean() + 0.3).float().mean() > 0.9


def test_targets_are_the_encoded_labels(data: Path) -> None:
    batch = batches(data)[2]
    wanted = representation("votes").encode(batch.labels[1].numpy())
    assert np.array_equal(batch.targets[1].numpy(), wanted)


def test_background_far_from_the_labeled_cells_is_ignored_when_labels_are_partial(
    data: Path, tmp_path: Path
) -> None:
    image = next((data / "dim" / "images").iterdir())
    labels = read_labels(data / "dim" / "labels" / f"{image.stem}.tif")
    write_labels(np.where(labels == 1, 1, 0).astype(np.int32), tmp_path / "l.tif")
    (tmp_path / "manifest.csv").write_text(
        f"use,group,image,labels,labeled\ntrain,g,{image},l.tif,leukocytes only\n"
    )
    made = Batches(
        find_samples(tmp_path), representation("votes"), Cropping(96, 4), Photometry(), 1
    )
    batch = made[0]
    weight = batch.weight[:, 0]
    assert (weight[batch.labels > 0] == 1).all()
    assert 0.05 < (weight == 0).float().mean() < 0.999


def test_augmentation_keeps_shape_and_range_and_leaves_its_input_alone() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(12, 3, 64, 64, generator=random)
    images[:6] = images[:6, :1]
    labels = torch.randint(0, 9, (12, 64, 64), generator=random)
    before = images.clone()
    always = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 1.0))
    out = photometric(images, labels, always, random)
    assert torch.equal(images, before)
    assert out.shape == images.shape
    assert torch.isfinite(out).all()
    assert out.min() >= -0.5
    assert out.max() <= 1.5
    never = Photometry(**dict.fromkeys(Photometry.__dataclass_fields__, 0.0))
    assert torch.equal(photometric(images, labels, never, random), images)
    for name in Photometry.__dataclass_fields__:
        one = photometric(images, labels, Photometry(**{**vars(never), name: 1.0}), random)
        assert not torch.equal(one, images), name


def test_a_stopped_run_goes_on_as_if_it_had_not_been(data: Path, tmp_path: Path) -> None:
    def run(out: str, steps: int, recipe: Recipe = SMALL) -> dict[str, torch.Tensor]:
        plan = TrainPlan(
            (data,),
            tmp_path / out,
            recipe=recipe,
            validate_every=3,
            workers=0,
            threads=1,
            stop_after=None if steps == recipe.steps else 0.0,
            device="cpu",
        )
        done = train(plan)
        assert done.step == steps
        saved = torch.load(tmp_path / out / "last.pt", weights_only=True)
        return {**saved["module"], **{f"ema.{k}": v for k, v in saved["averaged"].items()}}

    whole = run("whole", 6)
    for step in (1, 2):
        run("parts", step)
    parts = run("parts", 6)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    text = (tmp_path / "parts" / "curves.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert (tmp_path / "parts" / "curves.png").stat().st_size > 1000
    with pytest.raises(ModelError, match="seed"):
        run("whole", 6, SMALL.changed({"seed": 6}))


def test_training_learns_and_its_model_segments(data: Path, tmp_path: Path) -> None:
    from anycell.files import open_image
    from anycell.model import load_model
    from anycell.segment import segment

    learning = {"steps": 50, "crops": 4, "side": 96, "warm_up": 5, "memory": 0.9, "rate": 3e-3}
    recipe = SMALL.changed({**learning, "typical": 20.0, "spread": 0.1})
    done = train(
        TrainPlan((data,), tmp_path, recipe=recipe, validate_every=50, workers=0, threads=1)
    )
    assert done.best > 0.8
    model = load_model(done.folder)
    found = segment(open_image(data / "bright" / "images" / "0.png"), model)
    truth = read_labels(data / "bright" / "labels" / "0.tif")
    assert abs(int(found.labels.max()) - int(truth.max())) <= 2


def test_what_cannot_be_trained_says_why(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="not trained"):
        train(TrainPlan((data,), tmp_path / "a", method="classical"))
    (tmp_path / "none" / "images").mkdir(parents=True)
    Picture.new("L", (8, 8)).save(tmp_path / "none" / "images" / "a.png")
    with pytest.raises(InputError, match="no labeled"):
        train(TrainPlan((tmp_path / "none",), tmp_path / "b"))
    with pytest.raises(SettingError, match="crops"):
        Recipe(crops=1)
    with pytest.raises(SettingError, match="rate"):
        Recipe().changed({"rates": 1})
    with pytest.raises(SettingError, match="votes"):
        method("votez")


def test_a_damaged_checkpoint_is_an_error_that_names_it(data: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match=r"last\.pt"):
        train(TrainPlan((data,), tmp_path, recipe=SMALL))


def test_every_method_names_parts_that_exist() -> None:
    from anycell.networks import NETWORKS
    from anycell.representations import REPRESENTATIONS

    for name, made in METHODS.items():
        assert made.name == name
        assert made.representation in REPRESENTATIONS
        assert made.network is None or made.network in NETWORKS
        assert made.summary
        assert made.reference
