"""Write the table of files in ARCHITECTURE.md anew, from the first line of each docstring.

python scripts/list_parts.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = "| file | what |\n|---|---|\n"


def row(path: Path) -> str:
    """One file and what it is for, without the file's own name before a colon."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = re.sub(r":\w+:`~?(?:anycell\.)?([\w.]+)`", r"`\1`", text.partition("\n")[0])
    line = line.replace("``", "`").rstrip(".")
    name, _, rest = line.partition(": ")
    if name.lower() == path.stem:
        line = rest[0].upper() + rest[1:]
    return f"| `{path.parent.name}/{path.name}` | {line} |\n"


def main() -> None:
    drawing = ROOT / "ARCHITECTURE.md"
    files = sorted((ROOT / "src" / "anycell").glob("*/*.py"))
    rows = [row(path) for path in files if path.name != "__init__.py"]
    before, _, _ = drawing.read_text(encoding="utf-8").partition(HEAD)
    drawing.write_text(before + HEAD + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
