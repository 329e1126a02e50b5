"""A number that tells other rows: every bit of every value, and where it stands, goes into it.

Rows are hashed linearly, by odd keys of the columns, and mixed with the key of their position by
SplitMix64's finaliser; the hashes add up modulo 2**64, so blocks, threads and libraries do not
matter.  One changed value always changes it; other rows have the same one by chance, once in 2**64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _exact as exact
from ._backend import bits_of
from ._problem import Training
from ._random import Purpose, mix, mixed
from ._typing import Array, Block, Namespace, slices

_CELLS = 1 << 16  # at a time on the host: they stay in a cache
_CELLS_OF_DEVICE = 1 << 22
_WORD = (1 << 64) - 1


def fingerprint(problem: Training, /) -> dict[str, Any]:
    """What tells these rows and weights from others, as plain numbers."""
    with problem.source.working():
        digest = problem.within_memory(lambda: _digest(problem))
    weighted = problem.summary.weight_grid is not None
    return {
        "rows": problem.source.n_rows,
        "columns": problem.source.n_features,
        "dtype": problem.dtype,
        "weighted": weighted,
        # weights are brought to at most 1 by a power of two
        "weight_exponent": problem.weight_exponent,
        "digest": f"{digest:016x}",
    }


def _digest(problem: Training) -> int:
    """The digest of rows and weights."""
    xp, source = problem.context.xp, problem.source
    cells = _CELLS if problem.context.on_host else _CELLS_OF_DEVICE
    odd = [mix(Purpose.DIGEST, column) | 1 for column in range(source.n_features + 1)]
    words = np.asarray(odd, dtype=np.uint64).view(np.int64)
    keys = exact.to_device(words, source.sample, xp=xp)

    def task(block: Block) -> int:
        total = 0
        for part in slices(block.n_rows, max(1, cells // source.n_features)):
            weight = None if block.weight is None else block.weight[part]
            total += _of_rows(block.x[part, :], weight, block.start + part.start, keys, xp=xp)
        return total

    return sum(source.map(task)) & _WORD


def _of_rows(x: Array, weight: Array | None, start: int, keys: Array, /, *, xp: Namespace) -> int:
    d = int(x.shape[1])
    # sums and products of int64 wrap around alike on every library
    hashes = xp.sum(xp.astype(bits_of(x), xp.int64) * keys[:d], axis=1)
    if weight is not None:
        hashes = hashes + bits_of(weight) * keys[d]
    return int(xp.sum(mixed(hashes, start, Purpose.DIGEST, xp=xp)))
