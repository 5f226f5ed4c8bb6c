"""The tree of errors: what was found, what was expected, what to type.

    AnycellError
    |-- InputError          a file, an array or a folder is not what is needed
    |   |-- FormatError     the file cannot be read at all
    |   `-- AxesError       the file can be read, but what its axes mean is not known
    |-- SettingError        a setting, an option or a name is unknown or out of range
    |-- ModelError          a model file is damaged, of another version, or does not fit
    `-- OutputError         a result cannot be written

Everything that a user can mend is one of these; the command line prints it and
exits with 2.  Any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AnycellError",
    "AxesError",
    "FormatError",
    "InputError",
    "ModelError",
    "OutputError",
    "SettingError",
    "unknown_name",
]


class AnycellError(Exception):
    """A mistake that the caller can mend.

    The message has up to three parts: ``found``, ``expected`` and ``hint``, the
    last one being what to type instead.
    """

    def __init__(self, found: str, *, expected: str = "", hint: str = "") -> None:
        super().__init__(found, expected, hint)
        self.found = found
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.found]
        if self.expected:
            lines.append(f"expected: {self.expected}")
        if self.hint:
            lines.append(f"try: {self.hint}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the three parts when the error crosses a process boundary."""
        return _rebuild, (type(self), self.found, self.expected, self.hint)


class InputError(AnycellError):
    """A file, an array or a folder is not what is needed."""


class FormatError(InputError):
    """A file cannot be read: damaged, cut off, or of a kind that is not known."""


class AxesError(InputError):
    """What the axes or channels of an image mean cannot be told without asking."""


class SettingError(AnycellError):
    """A setting, an option or a name is unknown or out of range."""


class ModelError(AnycellError):
    """A model file is damaged, of another version, or does not fit its use."""


class OutputError(AnycellError):
    """A result cannot be written where it was asked for."""


def _rebuild(kind: type[AnycellError], found: str, expected: str, hint: str) -> AnycellError:
    return kind(found, expected=expected, hint=hint)


def unknown_name(what: str, name: str, known: Iterable[str]) -> SettingError:
    """Build the error for a name that is not in a table, suggesting the nearest one.

    Parameters
    ----------
    what : what the name names, for example ``"method"``.
    name : the name that was given.
    known : the names that there are.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return SettingError(
        f"unknown {what} {name!r}",
        expected=f"one of {', '.join(names)}",
        hint=near[0] if near else "",
    )
