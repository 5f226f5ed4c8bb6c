"""Join data sets with manifests into one folder, by moving their files.

python scripts/join_data.py OUT PART [PART ...]
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    out, parts = Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]]
    rows: list[dict[str, str]] = []
    for part in parts:
        with (part / "manifest.csv").open(newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        for row in found:
            for kind in ("image", "labels", "ignore"):
                if row.get(kind):
                    (out / row[kind]).parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(part / row[kind], out / row[kind])
        rows += found
    with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} images -> {out}")


if __name__ == "__main__":
    main()
