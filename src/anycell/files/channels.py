"""The names of channels, and the choice among them (``--channels DAPI,2``)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from anycell.errors import AxesError, SettingError

__all__ = ["RGB", "channel_names", "choose"]

RGB = ("R", "G", "B")
_COLOR_WORDS = (("r", "g", "b"), ("red", "green", "blue"))


def channel_names(count: int, told: Sequence[str], *, color: bool) -> tuple[str, ...]:
    """Name ``count`` channels: red, green, blue (and alpha), the file's names, or 0, 1, ...

    ``told`` are the file's own names; they count only when there is one per channel,
    and an empty one is replaced by its number.
    """
    if color and count >= 3:
        return (*RGB, "alpha")[:count]
    if len(told) != count:
        return tuple(str(i) for i in range(count))
    names = tuple(word.strip() or str(i) for i, word in enumerate(told))
    return RGB if tuple(word.lower() for word in names) in _COLOR_WORDS else names


def choose(names: tuple[str, ...], wanted: str | None, path: Path) -> list[int]:
    """Pick channels by name or number (from 0), comma-separated, in the order given.

    A name counts before a number, its exact spelling before any other.

    Raises
    ------
    SettingError : a channel that the file does not have.
    AxesError : a name that several channels share.
    """
    if wanted is None:
        return list(range(len(names)))
    return [_find(names, word.strip(), path) for word in wanted.split(",")]


def _find(names: tuple[str, ...], word: str, path: Path) -> int:
    exact = [i for i, name in enumerate(names) if name == word]
    loose = [i for i, name in enumerate(names) if name.lower() == word.lower()]
    found = exact or loose
    if len(found) > 1:
        raise AxesError(
            f"{path.name} has {len(found)} channels called {word!r}",
            expected="one",
            hint=f"the number: {' or '.join(str(i) for i in found)}",
        )
    if found:
        return found[0]
    if word.isdecimal() and int(word) < len(names):
        return int(word)
    there = ", ".join(
        name if name == str(i) else f"{i} {name}".strip() for i, name in enumerate(names)
    )
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.4)
    raise SettingError(
        f"{path.name} has no channel {word!r}",
        expected=f"channels by number or name: {there}",
        hint=f"--channels {near[0] if near else names[0]}",
    )
