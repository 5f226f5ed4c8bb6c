"""Clusters: the tiles of a slide on the workers of dask.distributed.

    client (this process)                workers (other processes, other machines)
      one job, sent once      -->          open the image, keep the model ready
      numbers of tiles        -->          read, outputs, decode
      journal, claims         <--          packed results, in any order

Workers read the image themselves, so its path must be theirs too.  A worker that dies is
none of our business: the scheduler gives its tiles to others, and a new worker gets the
job on its start.  Claims are made here in the order of the tiles, so the labels are those
of a single process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from anycell.errors import AnycellError, SettingError
from anycell.files import Opening
from anycell.grid import Tile, place_of
from anycell.journal import packed
from anycell.normalize import Normalization
from anycell.predictor import Predictor
from anycell.road import Road
from anycell.runs import cores

if TYPE_CHECKING:
    from distributed import Client, Worker, WorkerPlugin

__all__ = ["Job", "compute_on", "connected"]

LOCAL = "local"
AHEAD = 4
"""Tiles per worker thread that are under way."""
PATIENCE = 30
"""Seconds to wait for a scheduler, or for a first worker."""


@dataclass(frozen=True)
class Job:
    """What workers need to know, apart from the tiles."""

    opening: Opening
    predictor: Predictor
    normalization: Normalization
    min_confidence: float
    styles: Mapping[Fraction, NDArray[np.float32]]
    levels: Mapping[Fraction, float]

    def road(self) -> Road:
        """Open the image; the road has no tiles of its own."""
        image = self.opening.open()
        lines, limit = self.normalization, self.min_confidence
        return Road(image, self.predictor, (), lines, limit, styles=self.styles, levels=self.levels)


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Connect to the scheduler at an address, or start ``local`` workers, one per core.

    Raises
    ------
    SettingError : dask.distributed is not installed, or nobody answers.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise SettingError(
            f"--cluster {address} without dask.distributed",
            expected="the extra cluster",
            hint="pip install 'anycell[cluster]'",
        ) from error
    if address == LOCAL:
        with (
            LocalCluster(
                n_workers=cores(), threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise SettingError(
            f"no scheduler answers at {address}: {error}",
            expected=f"{LOCAL}, or the address that dask scheduler prints",
            hint="--cluster tcp://HOST:8786",
        ) from error
    with client:
        yield client


def compute_on(
    client: Client, opening: Opening
) -> Callable[[Road, Sequence[int]], Generator[tuple[int, bytes]]]:
    """Give what ``anycell.slides.Going`` takes to have tiles computed by a cluster.

    Raises, when called
    -------------------
    SettingError : the cluster has no worker, or its workers die one after the other.
    AnycellError : whatever goes wrong with a tile.
    """

    def compute(road: Road, numbers: Sequence[int]) -> Generator[tuple[int, bytes]]:
        predictor = road.predictor.split(2)[0]  # one core: workers are many
        lines, limit = road.normalization, road.min_confidence
        job = Job(opening, predictor, lines, limit, road.styles, road.levels)
        name = f"anycell-{uuid4().hex}"
        _wait_for_workers(client)
        client.register_plugin(_plugin(job, name), name)
        try:
            yield from _results(client, road, numbers, name)
        finally:
            client.unregister_worker_plugin(name)

    return compute


def _results(
    client: Client, road: Road, numbers: Sequence[int], name: str
) -> Generator[tuple[int, bytes]]:
    """Keep the workers busy, and give results as they come."""
    from distributed import KilledWorker, as_completed

    rest = iter(numbers)
    number_of: dict[str, int] = {}

    def submit(number: int) -> Any:
        future = client.submit(_work, road.tiles[number], name, key=f"{name}-{number}", pure=False)
        number_of[future.key] = number
        return future

    threads = max(1, sum(client.nthreads().values()))
    first = [submit(number) for number in islice(rest, AHEAD * threads)]
    coming = as_completed(first)
    for future in coming:
        try:
            payload = future.result()
        except KilledWorker as error:
            raise SettingError(
                f"several workers died on the same tile: {error}",
                expected="workers with enough memory, some 600 MB each",
                hint="fewer workers on each machine, and --resume",
            ) from error
        yield number_of.pop(future.key), payload
        future.release()
        for number in islice(rest, 1):
            coming.add(submit(number))


def _wait_for_workers(client: Client) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        raise SettingError(
            "the cluster has no worker",
            expected="at least one",
            hint="dask worker tcp://HOST:8786, on each machine",
        ) from error


def _plugin(job: Job, name: str) -> WorkerPlugin:
    """What opens the image on a worker when it starts or joins.

    The class stands in here because its base may not be installed; it is sent by value.
    """
    from distributed import WorkerPlugin

    class Ready(WorkerPlugin):  # type: ignore[misc]
        """Keeps the road; what goes wrong is told by the first tile."""

        idempotent = True

        def setup(self, worker: Worker) -> None:
            """Open the image."""
            del worker
            self.name, self.free = name, SimpleQueue[Predictor]()
            self.free.put(job.predictor)
            self.road: Road | None = None
            self.wrong: AnycellError | None = None
            try:
                self.road = job.road()
            except AnycellError as error:
                self.wrong = error

    return Ready()


def _work(tile: Tile, name: str) -> bytes:
    """Do one tile, on a worker."""
    from distributed import get_worker

    ready = get_worker().plugins[name]
    if ready.wrong is not None:
        raise ready.wrong
    labels, confidence = ready.road.result(tile, ready.free)
    return packed(labels, confidence, place_of(tile))
