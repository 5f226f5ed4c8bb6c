"""Which axis of an array is what: rows, columns, channels; never guessed.

Letters, as in OME: ``Y`` rows, ``X`` columns, ``C`` channels, ``S`` samples of a color
(red, green, blue, alpha), ``Z`` depth, ``T`` time; anything else stands for an axis of
which the file does not say what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from anycell.errors import AxesError, SettingError

__all__ = ["Layout", "resolve"]

_KNOWN = "TZCSYX"
_NAMES = {"T": "time points", "Z": "planes in depth"}
_ONE_PLANE = "save one plane as a file of its own"
_SLIVER = 8  # pixels; nobody outlines cells in a plane this thin


@dataclass(frozen=True)
class Layout:
    """The places of rows, columns and channels among the axes of an array.

    ``channel`` is None for a single plane; ``color`` says that the channels are the
    samples of a color.
    """

    y: int
    x: int
    channel: int | None
    color: bool


def resolve(shape: tuple[int, ...], axes: str, answer: str | None, name: str) -> Layout:
    """Find rows, columns and channels.

    Parameters
    ----------
    shape : of the whole array.
    axes : what the file says, one letter per axis.
    answer : what the user says (``--axes``), for all axes or for those longer than 1.
    name : the file, for messages.

    Raises
    ------
    AxesError : a stack, or an axis that neither the file nor the user explains.
    SettingError : an answer that is no answer, such as a letter twice.
    """
    if len(axes) != len(shape):
        raise AxesError(
            f"{name}: the axes {axes} for an array of shape {shape}",
            expected="one letter per axis",
        )
    told = axes if answer is None else _answered(shape, axes, answer.upper(), name)
    long = _long_axes(shape, told)
    if len(long) == 2 and not any(told[i] in _KNOWN for i in long):
        told = "".join("YX"[long.index(i)] if i in long else "?" for i in range(len(told)))
    _refuse_others(shape, told, long, name, answered=answer is not None)
    letters = {told[i]: i for i in long}
    if "C" in letters and "S" in letters:
        raise AxesError(
            f"{name}: both channels and colors (axes {told}, shape {shape})",
            expected="channels or a color, not both",
            hint=_ONE_PLANE,
        )
    channel = letters.get("C", letters.get("S"))
    layout = Layout(letters["Y"], letters["X"], channel, "S" in letters)
    if answer is not None:
        _check_sizes(shape, layout, name)
    return layout


def _long_axes(shape: tuple[int, ...], axes: str) -> list[int]:
    long = [i for i, size in enumerate(shape) if size > 1 or axes[i] in "YX"]
    if len(long) >= 2:
        return long
    return list(range(len(shape)))[-2:]  # an image of one row, column or pixel


def _answered(shape: tuple[int, ...], axes: str, answer: str, name: str) -> str:
    odd = sorted({letter for letter in answer if not ("A" <= letter <= "Z")})
    twice = sorted({letter for letter in answer if answer.count(letter) > 1})
    if odd or twice or "Y" not in answer or "X" not in answer:
        raise SettingError(
            f"axes {answer!r}",
            expected=f"letters of {', '.join(_KNOWN)}, each once, Y and X among them",
            hint="--axes CYX",
        )
    long = _long_axes(shape, axes)
    if len(answer) == len(shape):
        told = list(answer)
    elif len(answer) == len(long):
        told = ["?"] * len(shape)
        for letter, i in zip(answer, long, strict=True):
            told[i] = letter
    else:
        sizes = tuple(shape[i] for i in long)
        raise AxesError(
            f"{name}: {len(answer)} letters ({answer}) for {len(long)} axes of sizes {sizes}",
            expected=f"{len(long)} letters",
            hint=_suggestion(shape, axes, long),
        )
    strange = [told[i] for i in long if told[i] not in _KNOWN]
    if strange:
        raise SettingError(
            f"axes {answer!r}: {', '.join(strange)} for an axis longer than 1",
            expected=f"letters of {', '.join(_KNOWN)}",
            hint=_suggestion(shape, axes, long),
        )
    return "".join(told)


def _refuse_others(
    shape: tuple[int, ...], axes: str, long: list[int], name: str, *, answered: bool
) -> None:
    letters = [axes[i] for i in long]
    others = [i for i in long if axes[i] not in "CSYX"]
    if not others and "Y" in letters and "X" in letters and len(set(letters)) == len(letters):
        return
    said = " x ".join(f"{axes[i]} {shape[i]}" for i in long)
    if others and all(axes[i] in _NAMES for i in others):
        count = " and ".join(f"{shape[i]} {_NAMES[axes[i]]}" for i in others)
        raise AxesError(
            f"{name} is a stack of {count} ({said})",
            expected="one plane of rows and columns, with or without channels",
            hint=_ONE_PLANE if answered else _suggestion(shape, axes, long),
        )
    raise AxesError(
        f"{name} has {len(long)} axes of sizes {tuple(shape[i] for i in long)}, "
        "and does not say what they are",
        expected="rows, columns and perhaps channels",
        hint=_suggestion(shape, axes, long),
    )


def _suggestion(shape: tuple[int, ...], axes: str, long: list[int]) -> str:
    """Say what to type; the shortest of three axes can only be the channels."""
    if len(long) == 2:
        return "--axes YX"
    if len(long) != 3:
        return _ONE_PLANE
    known = [i for i in long if axes[i] not in "CSYX"]
    stack = len(known) == 1 and axes[known[0]] in _NAMES
    channel = known[0] if stack else min(long, key=lambda i: shape[i])
    rest = iter("YX")
    letters = "".join("C" if i == channel else next(rest) for i in long)
    return f"--axes {letters} if the {shape[channel]} are channels; if not, {_ONE_PLANE}"


def _check_sizes(shape: tuple[int, ...], layout: Layout, name: str) -> None:
    if layout.channel is None:
        return
    count, sides = shape[layout.channel], (shape[layout.y], shape[layout.x])
    if layout.color and count > 4:
        raise AxesError(
            f"{name}: S of size {count}",
            expected="1 to 4 samples of a color: grey or red, green, blue, and alpha",
            hint="C in place of S for channels",
        )
    if min(sides) <= _SLIVER and count > min(sides):
        long = sorted((layout.y, layout.x, layout.channel))
        raise AxesError(
            f"{name}: {count} channels of {sides[0]} x {sides[1]} pixels",
            expected="fewer channels than pixels",
            hint=_suggestion(shape, "?" * len(shape), long),
        )
