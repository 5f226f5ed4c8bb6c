"""Crops, augmentation and training on a small simulated folder; resume must be exact."""

from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys
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
from anycell.augment import Photometry  # noqa: E402
from anycell.batches import Batches, Cropping  # noqa: E402
from anycell.mixing import Crop, Mixing, mixed  # noqa: E402
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


def test_a_batch_on_its_way_between_processes_is_nearly_the_same(data: Path) -> None:
    batch = batches(data)[3]
    there = batch.light().to(torch.device("cpu"))
    assert batch.light().images.dtype == torch.float16
    assert torch.equal(there.labels, batch.labels)
    for name in ("images", "targets", "weight"):
        one, other = getattr(batch, name), getattr(there, name)
        assert other.dtype == torch.float32
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-3), name


def test_a_batch_is_used_several_times_each_with_other_looks_and_resumes_exactly(
    data: Path, tmp_path: Path
) -> None:
    def run(out: str, recipe: Recipe, stops: list[float | None]) -> dict[str, torch.Tensor]:
        plan = TrainPlan((data,), tmp_path / out, recipe=recipe, workers=0, threads=1, device="cpu")
        for stop in stops:
            train(dataclasses.replace(plan, stop_after=stop))
        saved: dict[str, torch.Tensor] = torch.load(tmp_path / out / "last.pt", weights_only=True)
        return saved["module"]

    twice = SMALL.changed({"steps": 5, "reuse": 2, "looks": "far"})
    whole = run("whole", twice, [None])
    parts = run("parts", twice, [0.0, 0.0, 0.0, None])
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    once = run("once", twice.changed({"reuse": 1}), [None])
    near = run("near", twice.changed({"looks": "near"}), [None])
    for other in (once, near):
        assert not all(torch.equal(whole[name], other[name]) for name in whole)


def test_a_training_within_a_time_is_finished_then(data: Path, tmp_path: Path) -> None:
    recipe = SMALL.changed({"steps": 100_000, "warm_up": 1, "cool_down": 1.0})
    plan = TrainPlan((data,), tmp_path, recipe=recipe, workers=0, threads=1, device="cpu")
    done = train(dataclasses.replace(plan, within=2.0, validate_images=1))
    assert 1 <= done.step < 100_000
    assert done.best >= 0.0, "it ends as any other: judged, its model written"
    (row,) = csv.DictReader((tmp_path / "curves.csv").read_text().splitlines())
    assert float(row["rate"]) == 0.0
    again = train(dataclasses.replace(plan, within=2.0))
    assert again.step == done.step
    more = train(dataclasses.replace(plan, within=float(row["seconds"]) + 60, stop_after=0.0))
    assert more.step == done.step + 1
    with pytest.raises(SettingError, match="within"):
        train(dataclasses.replace(plan, learning="parity", within=2.0))


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

    learning = {"steps": 160, "crops": 4, "side": 96, "warm_up": 10, "memory": 0.9, "rate": 2e-3}
    recipe = SMALL.changed({**learning, "typical": 20.0, "spread": 0.1})
    done = train(
        TrainPlan((data,), tmp_path, recipe=recipe, validate_every=160, workers=0, threads=1)
    )
    assert done.best > 0.8
    model = load_model(done.folder)
    found = segment(open_image(data / "bright" / "images" / "0.png"), model)
    truth = read_labels(data / "bright" / "labels" / "0.tif")
    assert abs(int(found.labels.max()) - int(truth.max())) <= 2


def test_a_killed_training_saves_and_goes_on(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anycell", "train", str(data), "-o", str(tmp_path / "run")]
    command += ["--steps", "100000", "--recipe", "crops=2", "--recipe", "side=64"]
    command += ["--workers", "0", "--threads", "1", "--validate-every", "100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 100:"):
                process.terminate()
                break
        rest = process.stderr.read()
    assert process.returncode == 0, rest
    assert "interrupted at step" in rest
    saved = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert saved["step"] >= 100


@pytest.mark.parametrize("learning", ["mean-teacher", "parity"])
def test_learning_from_unlabeled_images_resumes_exactly(
    data: Path, tmp_path: Path, learning: str
) -> None:
    weights: list[dict[str, torch.Tensor]] = []
    recipe = SMALL.changed({"steps": 4, "free": 0.5, "cutmix": 0.5, "transplant": 0.5})
    for out, stops in (("whole", [None]), ("parts", [0.0, 0.0, 0.0, None])):
        for stop in stops:
            train(
                TrainPlan(
                    (data,),
                    tmp_path / out,
                    recipe=recipe,
                    learning=learning,
                    labels=0.5,
                    validate_every=4,
                    validate_images=1,
                    workers=0,
                    threads=1,
                    stop_after=stop,
                )
            )
        weights.append(torch.load(tmp_path / out / "last.pt", weights_only=True)["module"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert (tmp_path / "whole" / "pseudo" / "manifest.csv").is_file() == (learning == "parity")
    plan = TrainPlan((data,), tmp_path / "whole", recipe=recipe, labels=0.5)
    with pytest.raises(ModelError, match="learning"):
        train(plan)


def test_unlabeled_crops_teach_by_consistency_alone(data: Path) -> None:
    from anycell.lessons import consistency

    samples = tuple(s for s in find_samples(data) if s.labels)
    bare = tuple(dataclasses.replace(s, labels=None, use="unlabeled") for s in samples)
    rep = representation("votes")
    cropping = Cropping(side=96, count=4, free=0.5)
    batch = Batches(samples, rep, cropping, Photometry(), 1, bare)[0]
    assert batch.plain.shape == (2, 3, 96, 96)
    assert batch.weight[:2].min() == 1
    assert batch.weight[2:].max() == 0
    assert not torch.equal(batch.images[2:], batch.plain)
    outputs = torch.randn(4, 9, 48, 48)
    other = outputs.clone()
    other[2:] += 1.0
    assert torch.isclose(
        rep.loss(outputs, batch.targets, batch.weight), rep.loss(other, batch.targets, batch.weight)
    )
    late = consistency(outputs[2:], other[2:], 6, SMALL)
    assert late > consistency(outputs[2:], other[2:], 0, SMALL) > 0
    assert consistency(other[2:], other[2:], 6, SMALL) == 0
    with pytest.raises(InputError, match="unlabeled"):
        train(TrainPlan((data,), data / "none", recipe=SMALL, learning="mean-teacher"))
    with pytest.raises(SettingError, match="parity"):
        train(TrainPlan((data,), data / "none", recipe=SMALL, learning="party"))


def test_mixing_moves_image_labels_and_weight_together() -> None:
    random = np.random.default_rng(0)
    crops = []
    for k in range(3):
        labels = np.zeros((64, 64), np.int32)
        labels[8:20, 8:20], labels[30:44, 36:50], labels[0:6, 50:64] = 1, 2, 3
        labels = np.roll(labels, 13 * k, axis=0)
        image = torch.from_numpy(np.repeat((k + (labels > 0) / 2)[None], 3, 0)).float()
        crops.append(Crop(image, labels, np.full((64, 64), 1.0 - 0.5 * (k == 2), np.float32)))
    same = mixed(crops, Mixing(), random)
    assert all(a is b for a, b in zip(same, crops, strict=True))
    for how in (Mixing(cutmix=1.0), Mixing(transplant=1.0)):
        for out, own, other in zip(
            mixed(crops, how, random), crops, crops[1:] + crops[:1], strict=True
        ):
            taken = (out.image[0] != own.image[0]).numpy()
            assert 0 < taken.mean() < 0.5
            assert np.array_equal(out.labels[taken] > 0, other.labels[taken] > 0)
            assert np.array_equal(out.labels[~taken] > 0, own.labels[~taken] > 0)
            assert np.array_equal(out.weight[taken], other.weight[taken])
            assert np.array_equal(np.unique(out.labels), np.arange(out.labels.max() + 1))
    look = mixed(crops, Mixing(amplitude=1.0), random)
    assert all(a.labels is b.labels for a, b in zip(look, crops, strict=True))
    assert not torch.equal(look[0].image, crops[0].image)


def test_training_goes_on_from_an_exported_graph(data: Path, tmp_path: Path) -> None:
    from anycell.model import load_model, model_folder
    from anycell.networks import network
    from anycell.unfold import graph_weights, measure_norms, unfold

    graph = model_folder("general")
    module = network("swift").build(3, 9, 2)
    unfold(module, graph_weights(graph / "model.onnx"), graph)
    # Large enough for the variance of a batch and of what it is drawn from to be the same.
    tiles = torch.rand(4, 3, 256, 288, generator=torch.Generator().manual_seed(0))
    wanted = load_model("general", precision="fp32").outputs(tiles.numpy())
    with torch.no_grad():
        assert np.allclose(module.eval()(tiles).numpy(), wanted, atol=1e-3)
        measure_norms(module, tiles)
        assert np.allclose(module.eval()(tiles).numpy(), wanted, atol=1e-3)
        # In training the norms take the batch's own statistics: those that were measured.
        assert np.abs(module.train()(tiles).numpy() - wanted).max() < 0.1
    (tmp_path / "general").mkdir()  # a folder of that name is no model
    plan = TrainPlan((data,), tmp_path / "general", weights=Path("general"), recipe=SMALL)
    done = train(dataclasses.replace(plan, workers=0, threads=1))
    assert done.step == SMALL.steps
    with pytest.raises(ModelError, match="same network"):
        train(dataclasses.replace(plan, out=tmp_path / "other", method="stars"))
    with pytest.raises(SettingError, match="general"):
        train(dataclasses.replace(plan, out=tmp_path / "third", weights=Path("generall")))


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


def test_judged_by_nothing_the_latest_weights_are_kept(data: Path, tmp_path: Path) -> None:
    rows = [
        f"train,bright,{data}/bright/images/{k}.png,{data}/bright/labels/{k}.tif" for k in range(2)
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(["use,group,image,labels", *rows]))
    plan = TrainPlan((tmp_path,), tmp_path / "run", recipe=SMALL, workers=0, threads=1)
    done = train(dataclasses.replace(plan, validate_every=2))
    about = json.loads((done.folder / "about.json").read_text())
    assert about["step"] == SMALL.steps
    assert about["validation"]["f1@0.5"] == {}
