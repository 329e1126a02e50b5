"""Routing: a pure function of shape, dtype and hardware.

The figures behind each threshold are in ``benchmarks/README.md`` (section "Routing").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._backend import Context
from .._primitives import MAX_FEATURES
from .._typing import Kernel

if TYPE_CHECKING:
    from .cuda._source import Launcher

_KERNELS = {"numpy": "numpy", "cupy": "cuda"}
_BLOCK_VALUES = 1 << 20
_PIECE_VALUES = 1 << 18
_FEW_VALUES, _FEW_PIECE_VALUES = 1 << 17, 1 << 14
_BLOCK_BYTES = 1 << 25
_MOST_ROWS = 1 << 21
_SPARSE_ROWS = 1 << 14
_CUDA_ROWS = 1 << 20
LEAST_ROWS = 256
_EXACT_WORK = 10_000
_THREAD_WORK = 8_000_000  # for each
_BOUNDS_WORK = 1 << 19
_FEW_WORK = 6_000_000
_LATE_BOUNDS_WORK = 128  # a row
_GROUPED_FEATURES, _GROUPED_CLUSTERS = 16, 128
_GROUPS_AT_ONCE, _MOST_GROUPS = 16, 32
_GROUP_BYTES = 32 << 20
_CUDA_GROUP, _LEAST_CUDA_GROUPS, _MOST_CUDA_GROUPS = 256, 8, 32
_CUDA_GROUP_SHARE = 8  # of the rows' bytes, for the bounds of groups


@dataclass(frozen=True)
class Shape:
    """What routing may look at, besides the hardware."""

    n_rows: int
    n_features: int
    n_clusters: int
    dtype: str


@dataclass(frozen=True)
class Plan:
    """Which kernel, from which precision, in which blocks and pieces, on how many threads.

    Seeding skips most rows, so that it takes several blocks for one.  ``group_size`` is the number
    of centers in a group of `_groups`, 0 for no groups; ``few`` rows have a kernel of their own;
    ``prunes_late``: the first sweep leaves no bounds, since the second would look at nearly all
    rows whatever they say.
    """

    kernel: str
    first: str
    block_rows: int
    piece_rows: int
    seeding_rows: int
    threads: int
    prunes: bool = False
    group_size: int = 0
    few: bool = False
    prunes_late: bool = False

    def halved(self, n_rows: int) -> Plan | None:
        """The same in blocks and pieces of half the rows, and no groups; None when they are few."""
        rows = min(self.block_rows, n_rows)
        if rows <= LEAST_ROWS:
            return None
        rows, pieces = (max(size // 2, LEAST_ROWS) for size in (rows, min(self.piece_rows, rows)))
        return replace(self.within(rows), piece_rows=pieces, group_size=0)

    def within(self, rows: int) -> Plan:
        """The same in blocks of so many rows at most."""
        block, pieces, seeding = (
            min(size, rows) for size in (self.block_rows, self.piece_rows, self.seeding_rows)
        )
        return replace(self, block_rows=block, piece_rows=pieces, seeding_rows=seeding)


def select(
    shape: Shape,
    *,
    backend: str,
    threads: int,
    float32_products: bool = True,
    compiled: bool = False,
    stored: bool = False,
) -> Plan:
    """Choose the plan for a fit or a predict; ``compiled``: loops are at hand, or worth having.

    ``stored``: blocks hold their rows as a sparse matrix stores them.
    """
    n, d, k = shape.n_rows, shape.n_features, shape.n_clusters
    if stored:
        return _sparse_plan(shape, threads)
    kernel = _KERNELS.get(backend, "reference")
    compiled = compiled and backend == "numpy"
    if n * k * d <= _EXACT_WORK and not compiled:
        first = "exact"
    elif float32_products and d <= MAX_FEATURES["float32"]:
        first = "float32"
    else:
        first = "float64"
    prunes = k > 1 and first != "exact"
    if kernel == "numpy":
        kernel = "numba" if compiled else kernel
        group_size = _group_size(shape) if compiled else 0
        # as many blocks for each thread, none so large that its picked rows fill the memory
        threads = _between(n * k * d // _THREAD_WORK, 1, threads)
        turns = -(-n * d // (threads * _BLOCK_VALUES))
        rows = _between(-(-n // (threads * turns)), 1024, _BLOCK_VALUES // d)
        # temporaries of few rows must not go back to the system: a fit would wait for them anew
        values = _FEW_PIECE_VALUES if n * d <= _FEW_VALUES else _PIECE_VALUES
        pieces = _between(values // d, 256, 4096)
        threads = threads if n >= 2 * rows else 1
        if kernel == "numpy" and threads == 1 and n * d <= _FEW_VALUES and n * k <= _BOUNDS_WORK:
            prunes = False
        few = compiled and is_few(shape)
        prunes = prunes and not few
        at_once = _between(-(-n // (threads * rows)), 1, max(1, _MOST_ROWS // rows))
        late = prunes and kernel == "numba" and k * d <= _LATE_BOUNDS_WORK
        plan = Plan(kernel, first, rows, pieces, at_once * rows, threads, prunes, group_size)
        return replace(plan, few=few, prunes_late=late)
    pieces = _between(_BLOCK_BYTES // (8 * (k + 4 * d)), 256, 1 << 18)
    # fused passes write no row of scores: one launch for as many rows as the sums can count
    rows = _CUDA_ROWS if kernel == "cuda" else pieces
    group_size = cuda_group_size(shape) if kernel == "cuda" and prunes else 0
    return Plan(kernel, first, rows, pieces, pieces, 1, prunes, group_size)


def _sparse_plan(shape: Shape, threads: int) -> Plan:
    """One product, in float64: fetching a stored value takes longer than multiplying by it."""
    n, d, k = shape.n_rows, shape.n_features, shape.n_clusters
    first = "exact" if n * k * d <= _EXACT_WORK else "float64"
    rows = _between(-(-n // threads), 1024, _SPARSE_ROWS)
    pieces = _between(_PIECE_VALUES // d, 4, 4096)
    threads = threads if n >= 2 * rows else 1
    return Plan("sparse", first, rows, pieces, rows, threads, k > 1 and first != "exact")


def is_few(shape: Shape) -> bool:
    """Whether compiled loops take these rows in one call: one thread, without bounds."""
    return shape.n_rows * shape.n_clusters * shape.n_features <= _FEW_WORK


def _group_size(shape: Shape) -> int:
    """Centers in a group: so many that the bounds of all groups fit a share of the rows' memory."""
    n, d, k = shape.n_rows, shape.n_features, shape.n_clusters
    if d < _GROUPED_FEATURES or k < _GROUPED_CLUSTERS:
        return 0
    size = 4 if shape.dtype == "float32" else 8
    room = (n * d * size // 4 + _GROUP_BYTES) // (size * n)
    most = min(_MOST_GROUPS, room // _GROUPS_AT_ONCE * _GROUPS_AT_ONCE)
    if most == 0:
        return 0
    return max(16 if k < 256 else 32, -(-k // (8 * most)) * 8)


def cuda_group_size(shape: Shape, /) -> int:
    """Centers in a group on a GPU; 0 for no groups.  By counting: nothing is measured.

    For each group that a row needs it is fetched anew, which takes as long as products of half
    precision with some hundred centers (`cuda._route.pair_centers`): groups are twice a tile, or
    more, and there are eight at least, so that those needed are a share of all.  A bound for each
    group takes 4 bytes a row (8 where numbers leave the range of float32), an eighth of the row.
    """
    d, k = shape.n_features, shape.n_clusters
    row_bytes = d * (4 if shape.dtype == "float32" else 8)
    most = min(_MOST_CUDA_GROUPS, row_bytes // (4 * _CUDA_GROUP_SHARE))
    if most < _LEAST_CUDA_GROUPS or k < _LEAST_CUDA_GROUPS * _CUDA_GROUP:
        return 0
    return -(-k // (most * _CUDA_GROUP)) * _CUDA_GROUP


def load(plan: Plan, context: Context) -> Kernel:
    """Import and build the kernel that a plan names."""
    if plan.kernel == "numba" and plan.few:
        from ._few import FewKernel

        return FewKernel()
    if plan.kernel == "numba":
        from ._numba import NumbaKernel

        return NumbaKernel()
    if plan.kernel == "sparse":
        from ._sparse import SparseKernel

        return SparseKernel()
    if plan.kernel == "numpy":
        from ._numpy import NumpyKernel

        return NumpyKernel(keeps=plan.threads == 1)
    return kernel_for(context)


def kernel_for(context: Context, /) -> Kernel:
    """The kernel for arrays of this context; for those of NumPy the reference."""
    if _KERNELS.get(context.backend) == "cuda":
        from .cuda._kernel import make_kernel

        return make_kernel(context)
    from ._reference import ReferenceKernel

    return ReferenceKernel(context.xp)


def load_launcher(context: Context, /) -> Launcher | None:
    """What launches CUDA kernels on arrays of this context; None where there are none."""
    if _KERNELS.get(context.backend) != "cuda":
        return None
    from .cuda._kernel import make_kernel

    return make_kernel(context).launcher


def _between(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))
