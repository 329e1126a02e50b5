"""Centers in the order of their groups, as the loops over groups want them."""

from __future__ import annotations

import numpy as np

from .. import _primitives as p
from .._groups import Groups
from .._typing import Array
from ._tile import GROUP, LANES


def in_groups(rung: p.Rung, groups: Groups) -> tuple[tuple[Array, ...], Array]:
    """Panels and bias of the centers by group, weights and bias as they were, and the tables."""
    members = groups.members.ravel()
    k, d = rung.weights.shape
    weights = np.zeros((k, -(-d // (2 * LANES)) * 2 * LANES), dtype=rung.weights.dtype)
    weights[:, :d] = rung.weights
    bias = np.where(groups.present.ravel(), rung.bias[members], np.inf).astype(rung.bias.dtype)
    spent = np.zeros((2, -(-groups.count // LANES) * LANES), dtype=groups.tables.dtype)
    spent[:, : groups.count] = groups.tables
    panels = _panels(weights[members, : -(-d // LANES) * LANES])
    return (panels, bias, weights.ravel(), rung.bias), spent


def _panels(weights: Array) -> Array:
    """Centers (a multiple of GROUP) by panel, features first."""
    parts = weights.reshape(-1, GROUP, weights.shape[1])
    return np.ascontiguousarray(parts.transpose(0, 2, 1))
