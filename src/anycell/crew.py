"""The crew: small jobs side by side, large ones alone, results in the order of the jobs.

Each hand is a thread with something of its own, such as a model on one core, and takes
one job after the other.  A job that is too large for one hand is done in the caller's
thread when its turn has come, with everything that there is, and only one at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

__all__ = ["TooLargeError", "side_by_side"]

Hand = TypeVar("Hand")
Job = TypeVar("Job")
Result = TypeVar("Result")

AHEAD = 2
"""Jobs per hand that are under way or done and not asked for yet."""


class TooLargeError(Exception):
    """A job is too large for one hand; nothing was done."""


def side_by_side(
    jobs: Iterable[Job],
    hands: Sequence[Hand],
    small: Callable[[Job, Hand], Result],
    large: Callable[[Job], Result],
) -> Generator[Result]:
    """Do jobs with several hands, and give what comes out in the order of the jobs.

    When the caller stops early, or a job raises, jobs under way are finished first.

    Parameters
    ----------
    hands : what a job needs for itself; one thread for each.
    small : does a job with one hand, or raises ``TooLargeError`` where that is not enough.
    large : does such a job, in the caller's thread.
    """
    free: SimpleQueue[Hand] = SimpleQueue()
    for hand in hands:
        free.put(hand)

    def work(job: Job) -> Result:
        hand = free.get()
        try:
            return small(job, hand)
        finally:
            free.put(hand)

    def done(job: Job, coming: Future[Result]) -> Result:
        try:
            return coming.result()
        except TooLargeError:
            return large(job)

    waiting: deque[tuple[Job, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(len(hands))
    try:
        for job in jobs:
            waiting.append((job, pool.submit(work, job)))
            if len(waiting) > AHEAD * len(hands):
                yield done(*waiting.popleft())
        while waiting:
            yield done(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
