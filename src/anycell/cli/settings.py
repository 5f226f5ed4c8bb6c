"""Options that hold several things: lists, NAME=VALUE, settings of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from anycell.errors import SettingError
from anycell.methods import Recipe

__all__ = ["listed", "named", "numbers", "recipe_settings"]


def listed(text: str | None) -> list[str]:
    """Cut ``a,b,c`` at its commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def named(text: str, default: str = "") -> tuple[str, str]:
    """Cut ``NAME=VALUE``; a value alone gets the default name.

    Raises
    ------
    SettingError : no name, and no default for it, or no value.
    """
    name, equals, value = text.partition("=")
    if not equals:
        name, value = default, text
    if not name or not value:
        raise SettingError(f"{text!r}", expected="NAME=FOLDER", hint=f"mine={text or 'FOLDER'}")
    return name, value


def numbers(what: str, text: str) -> list[float]:
    """Read ``1,2.5``.

    Raises
    ------
    SettingError : one of them is no number.
    """
    try:
        return [float(part) for part in listed(text)]
    except ValueError as error:
        raise SettingError(f"{what} {text!r}", expected="numbers, as in 5,10,25,100") from error


def recipe_settings(recipe: Recipe, texts: Sequence[str]) -> dict[str, int | float]:
    """Read ``NAME=VALUE,NAME=VALUE``, several times if need be.

    Unknown names are left to ``Recipe.changed``, which suggests the nearest one.

    Raises
    ------
    SettingError : a value that is not a number of the setting's kind.
    """
    asked: dict[str, int | float] = {}
    for setting in (part for text in texts for part in listed(text)):
        name, _, value = setting.partition("=")
        kind = int if isinstance(getattr(recipe, name, 0.0), int) else float
        try:
            asked[name] = kind(value)
        except ValueError as error:
            raise SettingError(
                f"recipe setting {setting!r}",
                expected=f"NAME=VALUE, the value a {kind.__name__}",
                hint="--recipe rate=0.001",
            ) from error
    return asked
