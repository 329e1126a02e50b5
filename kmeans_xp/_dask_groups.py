"""Which partitions a task takes: for each thread of a cluster one task a pass, where its rows are.

A task costs the scheduler milliseconds, however little there is to do.  Shares decide where work is
done and never what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MOST_ASKED = 4
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
    owners = _owners(threads)
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


def _owners(threads: Mapping[str, int]) -> list[str]:
    """The worker of each thread."""
    return [worker for worker, count in threads.items() for _ in range(count)]


class Groups:
    """Partitions that the workers of a client hold, by the task that takes them.

    Parameters
    ----------
    client : whose workers they are
    futures : the partitions
    weights : those of their rows
    sizes : their rows
    """

    def __init__(
        self, client: Any, futures: Sequence[Any], weights: Sequence[Any], sizes: Sequence[int]
    ) -> None:
        self._client, self._futures, self._weights, self._sizes = client, futures, weights, sizes
        self._shares: Shares | None = None
        self._owners: list[str] = []
        self._lie_there, self._asked = False, 0

    def of(self, numbers: Iterable[int], /) -> Shares:
        """These partitions, those of a task together."""
        return [share for _, share in self._of(numbers)]

    def by_worker(self, numbers: Iterable[int], /) -> dict[str, Shares]:
        """The same by their worker; none where it does not hold all that its threads take.

        Then a few of the next passes ask again: rows and weights may be on their way.
        """
        if not self._lie_there and self._asked < _MOST_ASKED:
            self.renew()
        found: dict[str, Shares] = {}
        for owner, share in self._of(numbers):
            found.setdefault(owner, []).append(share)
        return found if self._lie_there else {}

    def _of(self, numbers: Iterable[int]) -> list[tuple[str, list[int]]]:
        if self._shares is None:
            self._shares = self._ask()
        wanted = set(numbers)
        owners = self._owners or [""] * len(self._shares)
        shares = ([n for n in share if n in wanted] for share in self._shares)
        return [found for found in zip(owners, shares, strict=True) if found[1]]

    def renew(self) -> None:
        """Ask again where the partitions are, before the next pass."""
        self._shares = None

    def _ask(self) -> Shares:
        self._asked += 1
        found = self._client.who_has([*self._futures, *self._weights])
        holders = [found.get(future.key, ()) for future in self._futures]
        threads = self._client.nthreads()
        self._owners, self._lie_there = _owners(threads), False
        if not threads:  # between the last worker's end and the next one's begin
            return [[number] for number in range(len(self._sizes))]
        shares = shared_out(self._sizes, holders, threads)
        columns = [holders]
        if self._weights:
            columns.append([found.get(future.key, ()) for future in self._weights])
        self._lie_there = all(
            owner in column[number]
            for owner, share in zip(self._owners, shares, strict=True)
            for number in share
            for column in columns
        )
        return shares
