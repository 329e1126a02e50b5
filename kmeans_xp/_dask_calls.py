"""A pass as one call to each worker, past the scheduler's tasks: for rows that few workers hold.

A task costs scheduler, client and workers more than many a pass has work.  Calls save that and
never decide: where one fails, for whatever reason, the pass is made again by tasks, which may be
retried and moved, and what calls left on workers counts as little as what lost tasks left.  Where
passes take long the scheduler shall know of them: they are tasks, which cost nothing beside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._dask_tasks import Part, Pass, Spots, merge, run_all

_MOST_FAILURES = 3
_LONG = 0.5  # seconds, beyond which a call counts as a failure


@dataclass(frozen=True)
class Share:
    """What a thread of a worker takes: keys of partitions and of their weights, and the blocks."""

    rows: Sequence[Any]
    weights: Sequence[Any] | None
    spots: Sequence[Spots]


async def answer(
    work: Pass, shares: Mapping[str, Sequence[Share]], dask_worker: Any
) -> Part | None:
    """Run a pass on the shares of this worker, in its threads for tasks; None where rows are gone.

    The data of a worker belong to its event loop, which is here.
    """
    data, taken = dask_worker.data, []
    for share in shares[dask_worker.address]:
        if any(key not in data for key in (*share.rows, *(share.weights or ()))):
            return None
        weights = None if share.weights is None else [data[key] for key in share.weights]
        taken.append(([data[key] for key in share.rows], weights, share.spots))
    loop, threads = asyncio.get_running_loop(), dask_worker.executors["default"]
    parts = [loop.run_in_executor(threads, run_all, work, *one) for one in taken]
    return merge(await asyncio.gather(*parts))


class Calls:
    """Passes to the workers of a client, as long as calls succeed."""

    def __init__(self, client: Any) -> None:
        self._client = client
        # a task that fits waits for threads of its own worker, and no scheduler knows
        self._failures = _MOST_FAILURES if _is_task() else 0

    def make(self, work: Pass, shares: Mapping[str, Sequence[Share]], /) -> list[Part] | None:
        """What the workers leave; None where tasks must make the pass."""
        if self._failures >= _MOST_FAILURES:
            return None
        # one that is gone would be tried for half a minute
        if shares.keys() <= self._client.nthreads().keys():
            began = time.monotonic()
            found = self._client.run(
                answer, work, shares, workers=list(shares), on_error="return"
            ).values()
            parts = [part for part in found if isinstance(part, Part)]
            self._failures += time.monotonic() - began > _LONG
            if len(parts) == len(shares):
                return parts
        self._failures += 1
        return None


def _is_task() -> bool:
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True
