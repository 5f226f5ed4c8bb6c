"""Options of training: what is drawn how often, and how long it may take."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from anycell.cli import app
from anycell.cli.settings import factors, seconds


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--share", "tissue", "tissue=2"),
        ("--share", "=2", "GROUP=2"),
        ("--share", "tissue=much", "GROUP=NUMBER"),
        ("--within", "soon", "45m"),
        ("--within", "3d", "45m"),
        ("--within", "0", "above 0"),
    ],
)
def test_shares_and_times_are_checked(
    tmp_path: Path, option: str, value: str, message: str
) -> None:
    pytest.importorskip("torch")
    command = ["train", str(tmp_path), "-o", str(tmp_path / "out"), option, value]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert message in result.stderr


def test_times_and_factors_are_read() -> None:
    assert [seconds(text) for text in (None, "90", "90s", "1.5 m", "2h")] == [
        None,
        90.0,
        90.0,
        90.0,
        7200.0,
    ]
    assert factors(["a=2,b=0.5", "c/d=1"]) == (("a", 2.0), ("b", 0.5), ("c/d", 1.0))
