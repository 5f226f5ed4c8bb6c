"""Outlines every cell in any microscopy image.

>>> import anycell
>>> image = anycell.open_image("cells.tif")  # doctest: +SKIP
>>> labels = anycell.segment(image).labels  # doctest: +SKIP

The names below are loaded when they are first asked for, so that ``import anycell``
costs nothing and never brings torch along.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anycell.errors import AnycellError
    from anycell.evaluate import evaluate
    from anycell.files import open_image, read_labels, write_labels
    from anycell.image import Image
    from anycell.model import load_model
    from anycell.segment import Segmentation, segment
    from anycell.train import train

__version__ = "0.1.0"

__all__ = [
    "AnycellError",
    "Image",
    "Segmentation",
    "evaluate",
    "load_model",
    "open_image",
    "read_labels",
    "segment",
    "train",
    "write_labels",
]

_HOME = {
    "AnycellError": "anycell.errors",
    "Image": "anycell.image",
    "Segmentation": "anycell.segment",
    "evaluate": "anycell.evaluate",
    "load_model": "anycell.model",
    "open_image": "anycell.files",
    "read_labels": "anycell.files",
    "segment": "anycell.segment",
    "train": "anycell.train",
    "write_labels": "anycell.files",
}


class _Package(ModuleType):
    """Keeps the functions segment, evaluate and train before the modules of their name."""

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse the module: importing ``anycell.segment`` would hide the function."""
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'anycell' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
