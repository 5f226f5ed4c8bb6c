"""Validation during training: segment held-out images as a user would, and score them."""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from anycell.confidence import RAW
from anycell.export import LARGEST_RADIUS, least_confidence
from anycell.files import open_image, read_labels
from anycell.image import Image
from anycell.labels import Labels
from anycell.networks import Network
from anycell.networks.swift import fold
from anycell.representations import Fields, Representation
from anycell.runtimes import given
from anycell.samples import Sample
from anycell.scores import score_pair
from anycell.segment import segment

__all__ = ["TorchPredictor", "Validation", "validate"]


@dataclass(frozen=True)
class Validation:
    """Images and labels to validate with, by group, in memory."""

    images: dict[str, list[tuple[Image, Labels]]]

    @classmethod
    def of(cls, samples: tuple[Sample, ...], per_group: int) -> Validation:
        """Take up to ``per_group`` images of each held-out group, spread evenly."""
        groups: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            if sample.use == "validate" and sample.labels is not None:
                groups[sample.group].append(sample)
        images: dict[str, list[tuple[Image, Labels]]] = {}
        for group, members in sorted(groups.items()):
            picks = np.linspace(0, len(members) - 1, min(per_group, len(members))).round()
            chosen = [members[int(k)] for k in picks]
            images[group] = [_opened(s.image, s.labels) for s in chosen if s.labels]
        return cls(images)


def _opened(path: Path, truth: Path) -> tuple[Image, Labels]:
    image = open_image(path)
    return image, read_labels(truth, shape=image.shape[1:])


class TorchPredictor:
    """A torch network as a ``Predictor``, for validation before there is a model file."""

    name = "in training"
    hash = ""
    confidence_map = RAW

    def __init__(
        self,
        module: nn.Module,
        network: Network,
        representation: Representation,
        diameter: float,
    ) -> None:
        self.device = next(module.parameters()).device
        self.module = fold(copy.deepcopy(module)).to(self.device)
        self.representation = representation
        self.halo = network.reach + LARGEST_RADIUS
        self.multiple = network.multiple
        self.diameter = diameter
        self.min_confidence = least_confidence(representation)
        self.style_size = int(getattr(module, "style_size", 0))

    def look(self, overview: NDArray[np.float32]) -> TorchPredictor:
        """Look at the whole image, small; a network has nothing to learn from it."""
        del overview
        return self

    def split(self, count: int) -> tuple[TorchPredictor, ...]:
        """Give itself alone: torch uses all cores by itself."""
        del count
        return (self,)

    def style(self, tiles: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the style of each of n x 3 x H x W normalized tiles."""
        return self._run(tiles, None)[1]

    def outputs(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None = None
    ) -> Fields:
        """Run the network on n x 3 x H x W normalized tiles."""
        return self._run(tiles, style)[0]

    def _run(
        self, tiles: NDArray[np.float32], style: NDArray[np.float32] | None
    ) -> tuple[Fields, NDArray[np.float32]]:
        with torch.inference_mode():
            inputs = [
                torch.from_numpy(v).to(self.device)
                for v in given(tiles, style, self.style_size).values()
            ]
            images = inputs[0].contiguous(memory_format=torch.channels_last)
            if not self.style_size:
                none = np.zeros((len(tiles), 0), dtype=np.float32)
                return self.module(images).float().cpu().numpy(), none
            fields, own = self.module(images, inputs[1])
            return fields.float().cpu().numpy(), own.float().cpu().numpy()


def validate(predictor: TorchPredictor, check: Validation) -> dict[str, float]:
    """Mean F1 at IoU 0.5 over the images of each group."""
    return {
        group: float(
            np.mean([score_pair(segment(i, predictor).labels, t)[0].values.f1 for i, t in members])
        )
        for group, members in check.images.items()
    }
