"""The house rules that ruff, mypy and import-linter do not check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "anycell"
MODULES = sorted(SOURCE.rglob("*.py"))
OURS = [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))]
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match, ast.AsyncFor, ast.AsyncWith)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
MEANINGLESS = {"utils", "helpers", "common", "misc", "core", "base", "manager", "handler"}
CHANGES = {
    "append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "add",
    "discard", "sort", "reverse", "popitem",
}  # fmt: skip
BANNED = {"numba", "cv2", "torchvision", "timm"}
CORE = {
    "numpy", "scipy", "skimage", "tifffile", "imagecodecs", "PIL", "zarr", "onnxruntime",
    "typer", "rich", "anycell",
}  # fmt: skip
MAY_USE_TORCH = {
    "train", "validation", "batches", "augment", "export", "curves", "checkpoints", "losses",
    "lessons", "mixing", "optimizers", "devices", "quantize", "unfold",
}  # fmt: skip
MAY_PLOT = {"report/plots"}
TRAINING = {"torch", "monai", "safetensors", "onnx", "onnxscript", "matplotlib"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


def depth(node: ast.AST) -> int:
    """How many compound statements stand inside one another; elif is not deeper."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and [child] == node.orelse
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    found = function.args
    named = [*found.posonlyargs, *found.args, *found.kwonlyargs]
    return [arg for arg in named if arg.arg not in ("self", "cls")]


def imports(tree: ast.AST) -> Iterator[str]:
    """The first names of what is imported, leaving out what only type checkers see."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
        yield from imports(node)


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    names = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    return [path for path in names if path.is_file()]


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_files_and_functions_are_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{lines} lines"
    wrong = []
    for function in functions(tree_of(path)):
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > 60:
            wrong.append(f"{function.name}: {length} lines")
        if len(arguments(function)) > 8:
            wrong.append(f"{function.name}: {len(arguments(function))} parameters")
        if depth(function) > 3:
            wrong.append(f"{function.name}: {depth(function)} levels deep")
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_state_and_no_passed_on_settings(path: Path) -> None:
    tree = tree_of(path)
    wrong = [
        f"line {node.lineno}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)
    ]
    wrong += list(state_written_to(tree))
    for function in functions(tree):
        rest = function.args.kwarg
        for call in ast.walk(function):
            if rest and isinstance(call, ast.Call) and passes_on(call, rest.arg):
                wrong.append(f"line {call.lineno}: **{rest.arg} passed on")
    assert not wrong


def passes_on(call: ast.Call, name: str) -> bool:
    return any(
        key.arg is None and isinstance(key.value, ast.Name) and key.value.id == name
        for key in call.keywords
    )


def state_written_to(tree: ast.Module) -> Iterator[str]:
    """Module-level lists, dicts and sets that a function changes."""
    state = set()
    for step in tree.body:
        targets = step.targets if isinstance(step, ast.Assign) else [getattr(step, "target", None)]
        if isinstance(getattr(step, "value", None), ast.List | ast.Dict | ast.Set | ast.ListComp):
            state |= {target.id for target in targets if isinstance(target, ast.Name)}
    for function in functions(tree):
        for node in ast.walk(function):
            if changed_name(node) in state:
                yield f"{function.name} changes {changed_name(node)}"


def changed_name(node: ast.AST) -> str | None:
    """The variable whose content an expression changes, if it does."""
    match node:
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return name
        case ast.Attribute(value=ast.Name(id=name), attr=change) if change in CHANGES:
            return name
    return None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_error_is_swallowed(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kind = ast.unparse(node.type) if node.type else ""
        silent = all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)
        assert kind not in ("", "BaseException"), f"line {node.lineno}: catches everything"
        assert not (kind == "Exception" and silent), f"line {node.lineno}: hides any error"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_are_allowed(path: Path) -> None:
    name = path.relative_to(SOURCE).with_suffix("").as_posix()
    outside = set(imports(tree_of(path))) - set(sys.stdlib_module_names)
    allowed = CORE | TRAINING if may_use_torch(name) else CORE
    if name in MAY_PLOT:
        allowed = allowed | {"matplotlib"}
    if name == "files/roi_zip":
        allowed = allowed | {"roifile"}
    if name == "runtimes":
        allowed = allowed | {"openvino"}
    if name == "cluster":
        allowed = allowed | {"distributed"}
    if name.startswith("representations/"):
        allowed = allowed | {"torch"}  # inside ``loss``; the next test sees to it
    assert outside <= allowed
    assert not outside & BANNED


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_torch_is_not_imported_by_loading_a_module(path: Path) -> None:
    name = path.relative_to(SOURCE).with_suffix("").as_posix()
    if may_use_torch(name):
        return
    tree = tree_of(path)
    inside = {
        id(node)
        for function in functions(tree)
        for step in function.body
        for node in ast.walk(step)
    }
    at_load = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside
    ]
    shell = ast.Module(body=[node for node in tree.body if node in at_load], type_ignores=[])
    assert not set(imports(shell)) & TRAINING


def may_use_torch(name: str) -> bool:
    return name in MAY_USE_TORCH or name.startswith("networks/")


def test_names_mean_something() -> None:
    names = {part for path in OURS for part in (*path.relative_to(ROOT).parts[:-1], path.stem)}
    assert not names & MEANINGLESS


def test_no_machine_paths_in_the_repository() -> None:
    pattern = re.compile(r"(?<![\w.~:/)}*])/(?:work|root|farm|home)(?![\w-])")
    wrong = []
    for path in tracked():
        data = path.read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:  # weights and pictures; no text of ours
            text = data.decode("latin-1")
        found = pattern.search(text)
        if found:
            wrong.append(f"{name_of(path)}: {found.group()}")
    assert not wrong


def test_the_repository_stays_small() -> None:
    sizes = {path: path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) < 15e6
    package = {k: v for k, v in sizes.items() if SOURCE in k.parents and k.suffix != ".py"}
    assert sum(package.values()) < 8e6


def floors_drawn() -> list[set[str]]:
    """The floors in the first drawing of ARCHITECTURE.md, from the roof down."""
    drawing = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split("```")[1]
    floors: list[set[str]] = []
    for line in drawing.strip("\n").splitlines():
        columns = re.split(r"\s{2,}", line.strip())
        if re.match(r" \w", line):
            floors.append(set())
            columns = columns[1:]
        floors[-1] |= {name.strip().rstrip("/") for name in columns[0].split("·")}
    return floors


def test_the_drawing_names_every_module_and_no_other() -> None:
    there = {
        path.stem if path.is_file() else path.name
        for path in SOURCE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    drawn = set().union(*floors_drawn())
    assert drawn == there - {"__init__", "__main__"}


def test_the_parts_are_listed() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+/\w+\.py)` \|", text, re.MULTILINE))
    there = {
        path.relative_to(SOURCE).as_posix()
        for path in MODULES
        if path.parent != SOURCE and path.name != "__init__.py"
    }
    assert listed == there, "python scripts/list_parts.py writes the list anew"


def test_the_drawing_and_the_import_contract_agree() -> None:
    """A layer of the contract may split a floor; it never joins two or changes their order."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        found
        for found in settings["tool"]["importlinter"]["contracts"]
        if found["type"] == "layers"
    )
    layers = [set(re.findall(r"\w+", layer)) - {"__main__"} for layer in contract["layers"]]
    height = {name: index for index, floor in enumerate(floors_drawn()) for name in floor}
    levels = [{height[name] for name in layer} for layer in layers if layer]
    assert all(len(level) == 1 for level in levels)
    order = [level.pop() for level in levels]
    assert order == sorted(order)
    assert set().union(*layers) == set(height)


def test_the_wheel_holds_the_model_and_the_types(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        path.relative_to(ROOT / "src").as_posix() for path in tracked() if SOURCE in path.parents
    }
    assert package <= names
    assert "anycell/py.typed" in names
    assert not [name for name in names if name.startswith("tests")]
    assert wheel.stat().st_size < 10e6
