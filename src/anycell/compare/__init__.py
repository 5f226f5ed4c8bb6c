"""Comparing: several methods, one split, one table.

>>> from anycell.compare import ComparePlan, compare
>>> plan = ComparePlan((Path("data"),), Path("out"), methods=("votes", "flows"))  # doctest: +SKIP
>>> compare(plan).write(Path("out"))  # doctest: +SKIP
"""

from __future__ import annotations

from anycell.compare.bootstrap import Interval, resample_means
from anycell.compare.comparison import Comparison, HeldOut, read_comparison
from anycell.compare.entries import ZOOM_SCHEMES, Cost, Entry, ImageResult, Result
from anycell.compare.joining import join
from anycell.compare.plan import ComparePlan, short_name
from anycell.compare.ranking import Standing, standings
from anycell.compare.running import Watch, compare

__all__ = [
    "ZOOM_SCHEMES",
    "ComparePlan",
    "Comparison",
    "Cost",
    "Entry",
    "HeldOut",
    "ImageResult",
    "Interval",
    "Result",
    "Standing",
    "Watch",
    "compare",
    "join",
    "read_comparison",
    "resample_means",
    "short_name",
    "standings",
]
