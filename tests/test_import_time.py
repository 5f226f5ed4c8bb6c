"""`import anycell` is quick and brings nothing heavy along."""

from __future__ import annotations

import subprocess
import sys

import pytest

import anycell


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=120
    )


def test_import_takes_less_than_0_3_seconds() -> None:
    """Of processor time, so that a busy machine does not matter."""
    code = (
        "import time\n"
        "before = time.process_time()\n"
        "import anycell\n"
        "print(time.process_time() - before)\n"
    )
    assert float(python("-c", code).stdout) < 0.3


def test_import_brings_no_heavy_package() -> None:
    loaded = python("-c", "import anycell, sys; print(*sys.modules)").stdout.split()
    heavy = {"torch", "numpy", "scipy", "skimage", "onnxruntime", "zarr", "tifffile", "typer"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("name", anycell.__all__)
def test_public_names_are_given_when_asked_for(name: str) -> None:
    if name == "train":
        pytest.importorskip("torch")
    code = f"import anycell, sys; v = anycell.{name}; print(v.__name__, 'torch' in sys.modules)"
    found, torch = python("-W", "error", "-c", code).stdout.split()
    assert found == name
    assert name == "train" or torch == "False"


def test_a_function_is_not_hidden_by_the_module_of_its_name() -> None:
    code = (
        "import anycell.segment, anycell.evaluate\n"
        "from anycell.segment import segment\n"
        "import anycell\n"
        "assert anycell.segment is segment\n"
        "assert callable(anycell.evaluate)\n"
    )
    python("-W", "error", "-c", code)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'segmnet'"):
        _ = anycell.segmnet
