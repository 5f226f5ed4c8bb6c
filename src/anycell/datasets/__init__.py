"""Data sets of others: fetched, checked, unpacked, and laid out to train and judge with.

``fetch`` downloads, ``unpack`` takes archives apart, and each data set is a file of its
own that says what is in which archive.  Standard library only; nothing is fetched
before a person has agreed to it.
"""

from anycell.datasets.fetch import Patience, Remote, fetch, read_record
from anycell.datasets.neurips2022 import PARTS, Plan, plan, prepare

__all__ = ["PARTS", "Patience", "Plan", "Remote", "fetch", "plan", "prepare", "read_record"]
