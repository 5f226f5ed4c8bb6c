"""The machine that a comparison was made on, as far as it tells."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from anycell.runs import cores

__all__ = ["machine"]


def machine(threads: int) -> dict[str, Any]:
    """Processor, cores that may be used, threads asked for, memory, system.

    Parameters
    ----------
    threads : of the networks; 0 for one per core.
    """
    return {
        "processor": _processor(),
        "cores": cores(),
        "threads": threads or cores(),
        "memory_bytes": _memory(),
        "platform": platform.platform(),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
