"""Text and bytes that are made in any order, given back in theirs.

Cells of a slide are worked on by place, and written by number.  What comes too early waits
in a file without a name; of what waits, memory holds two numbers each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

__all__ = ["in_order"]


def in_order(items: Iterable[tuple[int, bytes]], count: int, folder: Path) -> Iterator[bytes]:
    """Give items 0 .. ``count`` - 1 in that order.

    Parameters
    ----------
    items : the number of each and what it is, each number once.
    folder : where what waits goes, until all is given.

    Raises
    ------
    OSError : the disk is full.
    """
    start = np.full(count, -1, dtype=np.int64)
    size = np.zeros(count, dtype=np.int64)
    turn = end = 0
    with tempfile.TemporaryFile(dir=folder) as waiting:
        for number, item in items:
            if number != turn:
                waiting.seek(end)
                waiting.write(item)
                start[number], size[number] = end, len(item)
                end += len(item)
                continue
            yield item
            turn += 1
            while turn < count and start[turn] >= 0:
                waiting.seek(start[turn])
                yield waiting.read(size[turn])
                turn += 1
