"""Cellpose's ``_seg.npy``: a dictionary that numpy has pickled, read without running it.

A pickle can name any function of any module and have it called.  Here only what Cellpose
writes may be named: arrays, their types and scalars, and the plain types of Python.
Anything else is an error before it is looked up.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from anycell.errors import FormatError, InputError

__all__ = ["is_pickled", "read_seg"]

PLAIN = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, bool)


def is_pickled(path: Path) -> bool:
    """Whether a .npy file holds Python objects instead of numbers.

    Raises
    ------
    ValueError : damaged.
    """
    with path.open("rb") as file:
        return _header(file)[1].hasobject


def read_seg(path: Path) -> NDArray[Any]:
    """Give the array ``masks`` of a ``_seg.npy`` file.

    Raises
    ------
    FormatError : damaged, or a pickle that names anything but arrays and plain values.
    InputError : no dictionary with masks.
    """
    with path.open("rb") as file:
        try:
            shape, _ = _header(file)
            content = _Careful(file, path).load()
        except FormatError:
            raise
        except Exception as error:  # a damaged pickle can raise whatever it likes
            raise FormatError(
                f"{path} cannot be read: {str(error).strip() or type(error).__name__}",
                expected="a whole, undamaged _seg.npy of Cellpose",
                hint="save it anew in Cellpose",
            ) from error
    content = content.item() if shape == () and isinstance(content, np.ndarray) else content
    masks = content.get("masks") if isinstance(content, dict) else None
    if not isinstance(masks, np.ndarray) or masks.dtype.hasobject:
        raise InputError(
            f"{path} holds no masks",
            expected="the _seg.npy of Cellpose: a dictionary with an array called masks",
            hint="save it in Cellpose (Ctrl+S), or the labels alone: numpy.save(path, labels)",
        )
    return masks


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _latin(text: str, coding: str) -> bytes:
    """How old pickles spell bytes; no other coding is looked up."""
    if coding != "latin1":
        raise ValueError(f"bytes in the coding {coding!r}")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    """What a pickle may name, under the names of old and new versions."""
    rebuild: Callable[..., Any] = np.zeros(1).__reduce__()[0]  # type: ignore[assignment]
    buffer: Callable[..., Any] = np.zeros(1).__reduce_ex__(5)[0]  # type: ignore[assignment]
    scalar: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
    found: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _latin,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found[module, "_reconstruct"] = rebuild
        found[module, "scalar"] = scalar
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        found[module, "_frombuffer"] = buffer
    for kind in PLAIN:
        for module in ("builtins", "__builtin__"):
            found[module, kind.__name__] = kind
    return found


class _Careful(pickle.Unpickler):
    """An unpickler that knows a handful of names and refuses all others."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path
        self._known = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        """Give what a name stands for, if it is one of those allowed."""
        try:
            return self._known[module, name]
        except KeyError:
            raise FormatError(
                f"{self._path} asks for {module}.{name}, which no segmentation needs;"
                " nothing of it was run",
                expected="arrays and plain values, as Cellpose saves them",
                hint="if you trust whoever made it, save masks alone: numpy.save(path, masks)",
            ) from None
