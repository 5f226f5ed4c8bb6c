"""Options that hold several things: lists, NAME=VALUE, settings of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from anycell.errors import SettingError
from anycell.methods import Recipe

__all__ = ["diameters", "factors", "listed", "named", "numbers", "recipe_settings", "seconds"]

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
UNITS = {"": "px", "px": "px", "um": "um", "µm": "um", "μm": "um"}
"""What may stand behind a diameter; the last two look the same and are not."""


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


def factors(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Read ``GROUP=2,OTHER=0.5``, several times if need be.

    Raises
    ------
    SettingError : no group, or no number.
    """
    found = []
    for part in (part for text in texts for part in listed(text)):
        group, _, value = part.rpartition("=")
        try:
            found.append((group, float(value)))
        except ValueError as error:
            raise SettingError(
                f"{part!r}", expected="GROUP=NUMBER, as in tissue=2", hint=f"{group or part}=2"
            ) from error
        if not group:
            raise SettingError(f"{part!r}", expected="GROUP=NUMBER", hint=f"GROUP={value}")
    return tuple(found)


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


def diameters(text: str | None) -> tuple[float | None, float | None]:
    """Read ``90``, ``90px`` or ``12um``: a diameter in pixels, or one in micrometres.

    Raises
    ------
    SettingError : no number, or another unit.
    """
    if text is None:
        return None, None
    number = text.rstrip("pxuµμm ")
    unit = UNITS.get(text[len(number) :].strip())
    expected = "pixels, as in 90, or micrometres, as in 12um"
    if unit is None:
        raise SettingError(f"diameter {text!r}", expected=expected)
    try:
        value = float(number)
    except ValueError as error:
        raise SettingError(f"diameter {text!r}", expected=expected) from error
    return (value, None) if unit == "px" else (None, value)


def recipe_settings(recipe: Recipe, texts: Sequence[str]) -> dict[str, int | float | str]:
    """Read ``NAME=VALUE,NAME=VALUE``, several times if need be.

    Unknown names are left to ``Recipe.changed``, which suggests the nearest one.

    Raises
    ------
    SettingError : a value that is not a number of the setting's kind.
    """
    asked: dict[str, int | float | str] = {}
    for setting in (part for text in texts for part in listed(text)):
        name, _, value = setting.partition("=")
        own = getattr(recipe, name, 0.0)
        kind: type[int | float | str] = float
        if isinstance(own, (int, str)):
            kind = int if isinstance(own, int) else str
        try:
            asked[name] = kind(value)
        except ValueError as error:
            raise SettingError(
                f"recipe setting {setting!r}",
                expected=f"NAME=VALUE, the value a {kind.__name__}",
                hint="--recipe rate=0.001",
            ) from error
    return asked


def seconds(text: str | None) -> float | None:
    """Read ``90``, ``90s``, ``45m`` or ``2h``: a time in seconds.

    Raises
    ------
    SettingError : no number, or another unit.
    """
    if text is None:
        return None
    number = text.rstrip("smh ")
    try:
        return float(number) * SECONDS[text[len(number) :].strip()]
    except (ValueError, KeyError) as error:
        raise SettingError(f"a time of {text!r}", expected="seconds, as 90s, 45m or 2h") from error
