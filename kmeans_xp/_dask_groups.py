"""Which partitions a task takes: for each thread of a cluster one task a pass, where its rows are.

A task costs the scheduler milliseconds, however little there is to do.  Shares decide where work is
done and never what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_UNEVEN = 1.1  # times its fair share that a thread may be given

Shares = list[list[int]]
"""Partitions by thread."""


def shared_out(
    sizes: Sequence[int], holders: Sequence[Sequence[str]], threads: Mapping[str, int], /
) -> Shares:
    """Give each partition to a thread of a worker that holds it; even out what is far from even.

    Parameters
    ----------
    sizes : rows of the partitions
    holders : the workers that hold them
    threads : how many each worker has
    """
    owners = [worker for worker, count in threads.items() for _ in range(count)]
    shares: Shares = [[] for _ in owners]
    loads = [0] * len(owners)
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        near = [slot for slot, owner in enumerate(owners) if owner in holders[number]]
        slot = min(near or range(len(owners)), key=loads.__getitem__)
        shares[slot].append(number)
        loads[slot] += sizes[number]
    fair = sum(sizes) / len(owners)
    while True:
        most, least = loads.index(max(loads)), loads.index(min(loads))
        gap = loads[most] - loads[least]
        movable = [number for number in shares[most] if 0 < sizes[number] < gap]
        if loads[most] <= _UNEVEN * fair or not movable:
            return [sorted(share) for share in shares]
        # its rows travel once: the worker that fetched them is a holder from then on
        number = max(movable, key=sizes.__getitem__)
        shares[most].remove(number)
        shares[least].append(number)
        loads[most] -= sizes[number]
        loads[least] += sizes[number]


class Groups:
    """Partitions that the workers of a client hold, by the task that takes them.

    Parameters
    ----------
    client : whose workers they are
    futures : the partitions
    sizes : their rows
    """

    def __init__(self, client: Any, futures: Sequence[Any], sizes: Sequence[int]) -> None:
        self._client, self._futures, self._sizes = client, futures, sizes
        self._shares: Shares | None = None

    def of(self, numbers: Iterable[int], /) -> Shares:
        """These partitions, those of a task together."""
        if self._shares is None:
            self._shares = self._ask()
        wanted = set(numbers)
        shares = ([n for n in share if n in wanted] for share in self._shares)
        return [share for share in shares if share]

    def renew(self) -> None:
        """Ask again where the partitions are, before the next pass."""
        self._shares = None

    def _ask(self) -> Shares:
        found = self._client.who_has(self._futures)
        holders = [found.get(future.key, ()) for future in self._futures]
        threads = self._client.nthreads()
        if not threads:  # between the last worker's end and the next one's begin
            return [[number] for number in range(len(self._sizes))]
        return shared_out(self._sizes, holders, threads)
