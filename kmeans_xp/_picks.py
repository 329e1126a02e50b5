"""Rows picked by a mask, put back, and summed by label, without data-dependent shapes."""

from __future__ import annotations

import array_api_compat

from ._typing import Array, Namespace


def first_true(mask: Array, /, *, xp: Namespace) -> Array:
    return xp.astype(xp.argmax(xp.astype(mask, xp.int8), axis=1), xp.int32)


def compress(mask: Array, count: int, /, *, xp: Namespace) -> tuple[Array, Array | None]:
    """Positions of the true entries without a data-dependent shape.

    The result is padded to a power of four, so that libraries which compile for each shape
    meet few shapes; the second array marks the positions that count.
    """
    device = array_api_compat.device(mask)
    padded = min(max(64, 4 ** -(-(count - 1).bit_length() // 2)), int(mask.shape[0]))
    running = xp.cumulative_sum(xp.astype(mask, xp.int64))
    ranks = xp.arange(1, padded + 1, dtype=xp.int64, device=device)
    positions = xp.searchsorted(running, xp.where(ranks > count, count, ranks))
    return positions, (None if padded == count else ranks <= count)


def scatter(values: Array, mask: Array, replacements: Array, /, *, xp: Namespace) -> Array:
    """Put ``replacements`` (in order) where ``mask`` is true."""
    ranks = xp.cumulative_sum(xp.astype(mask, xp.int64)) - 1
    ranks = xp.where(ranks < 0, xp.zeros_like(ranks), ranks)
    if values.ndim == 2:
        mask = mask[:, None]
    return xp.where(mask, xp.take(replacements, ranks, axis=0), values)


def group_sums(values: Array, labels: Array, n_groups: int, /, *, xp: Namespace) -> Array:
    """Sums by label of integer-valued rows: sort, running int64 sum, differences.

    The running sum may wrap around; its differences are right all the same.
    """
    device = array_api_compat.device(values)
    order = xp.argsort(labels)
    whole = xp.astype(xp.take(values, order, axis=0), xp.int64)
    running = xp.cumulative_sum(whole, axis=0, include_initial=True)
    edges = xp.arange(n_groups + 1, dtype=labels.dtype, device=device)
    ends = xp.searchsorted(xp.take(labels, order), edges)
    at_ends = xp.take(running, ends, axis=0)
    return at_ends[1:, :] - at_ends[:n_groups, :]
