"""How tensor cores add up: what they keep of small products beside a large one."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import numpy as np
from _gpu_kit import Record

WORKS = ("float16", "float16 wgmma", "tf32", "tf32 wgmma")
_TOGETHER = {"float16": 16, "tf32": 8}


def how_it_adds(work: str, gpu: Any) -> Record:
    """By factors that are powers of two, of which no bit is lost before they are multiplied."""
    together = _TOGETHER[work.removesuffix(" wgmma")]
    found: Record = {"products at once": together, "one product of 1, others of 2**-j": {}}
    for j in range(20, 28):
        small = math.ldexp(1.0, -(j // 2)), math.ldexp(1.0, j // 2 - j)
        kept = {}
        for name, begin, count in (
            ("one with it", 1, 1),
            ("all with it", 1, together - 1),
            ("after it", together, 240),
        ):
            x, c = np.zeros((2, 256))
            x[0] = c[0] = 1.0
            x[begin : begin + count], c[begin : begin + count] = small
            # what arrived of them, in 2**-24
            kept[name] = float(math.ldexp(sums(x[None, :], c, work, gpu)[0] - 1.0, 24))
        found["one product of 1, others of 2**-j"][str(j)] = kept
    rows, center = np.random.default_rng(0).uniform(0.5, 1.0, size=(2, 4000, 512)).astype("f2")
    true = rows.astype("f8") @ center[0].astype("f8")
    off = (sums(rows, center[0], work, gpu) - true) / true * 2.0**24
    found["512 positive products, errors in 2**-24 of the sum"] = [
        float(off.min()),
        float(off.max()),
    ]
    return found


def sums(rows: Any, center: Any, work: str, gpu: Any) -> Any:
    """Products of rows and a center, added up by the kernel that labels rows."""
    from kmeans_xp import _primitives as p
    from kmeans_xp._backend import context_of
    from kmeans_xp._distances import Scale
    from kmeans_xp._kernels.cuda import _errors
    from kmeans_xp._kernels.cuda._kernel import make_kernel
    from kmeans_xp._kernels.cuda._route import depth

    xp = gpu.xp
    x, c = (xp.asarray(np.atleast_2d(part).astype("f4")) for part in (rows, center))
    rung = p.Rung(-c, xp.zeros(1, dtype="f4"), None, None, None, 1.0, 0.0, 0.0, 0.0)
    nearest = p.Nearest(c, None, Scale(), 1.0, "float32")
    nearest.rungs["float32", depth(work, int(x.shape[1]))] = rung
    labels, scores = xp.empty(len(x), dtype="i4"), xp.empty((3, len(x)), dtype="f4")
    # scores hold nothing back for bits that numbers lose: these lose none
    with mock.patch.object(_errors, "GRAIN", 0.0):
        make_kernel(context_of(x)).calls.score(x, nearest, work, labels, scores=scores)
    return -scores[0].get().astype("f8")
