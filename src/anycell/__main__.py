"""``python -m anycell`` is the program ``anycell``."""

from __future__ import annotations

from anycell.cli import main

if __name__ == "__main__":
    main()
