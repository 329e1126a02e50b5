"""Tasks that travel: pickled by value here, and opened where rows are, in the context of those.

Here all arrays are NumPy's.  There they become arrays of the library and on the device that hold
the rows, the source a stand-in without rows, and the kernel the one for that device; what comes
back is on the host again.  Labels are canonical and sums are integers, so that a pass over rows on
devices of any kinds leaves the same.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import types
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np

from ._backend import Context, context_of, to_host
from ._exact import Accumulator, to_device
from ._kernels import Plan, Shape, kernel_for, select
from ._kernels._numpy import NumpyKernel
from ._kernels._reference import ReferenceKernel
from ._primitives import Nearest
from ._sources import Rows
from ._stats import Surveyor
from ._typing import Array, Block, Kernel, OnHost, Source, T, some

HOST = Context(array_api_compat.numpy, "cpu", "numpy")
"""NumPy under a namespace of its own: in a task it is told apart from the NumPy of the host."""


@dataclass(frozen=True)
class Together(Context):
    """NumPy's, where what several devices leave is merged; it goes by their names.

    ``devices`` are those of this process, which may have too little memory.
    """

    named: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    devices: tuple[Context, ...] = ()

    @classmethod
    def of(cls, devices: Sequence[Context], /) -> Together:
        """The context that brings these together."""
        names = [context.device_name for context in devices]
        found = cls.named_so([context.backend for context in devices], names)
        return replace(found, devices=tuple(devices))

    @classmethod
    def named_so(cls, libraries: Sequence[str], devices: Sequence[str], /) -> Together:
        """The context of devices that are elsewhere."""
        libraries, devices = (tuple(dict.fromkeys(names)) for names in (libraries, devices))
        return cls(HOST.xp, HOST.device, HOST.backend, named=devices, libraries=libraries)

    @property
    def device_name(self) -> str:
        return ",".join(self.named)

    @property
    def library(self) -> str:
        return ",".join(self.libraries)

    @property
    def free_memory(self) -> int | None:
        """Bytes that are free on the device that has least."""
        free = [context.free_memory for context in self.devices]
        return min((size for size in free if size is not None), default=None)


Kind = type[NumpyKernel]
"""The kernel for rows of NumPy."""


class Elsewhere:
    """What a task sees of its source: sizes, and where arrays live."""

    is_resident = shares = is_stored = False
    room = None

    def __init__(self, sizes: tuple[int, int, int], dtype: str, context: Context) -> None:
        self.n_rows, self.n_features, self.piece_rows = sizes
        self.context, self.xp = context, context.xp
        self.sample = context.from_host(np.empty((0, self.n_features), dtype=dtype))


_PLAIN = frozenset(
    {str, int, float, bool, bytes, tuple, list, dict, type(None), types.FunctionType}
)
"""What travels as it is; Python looks at each object that is pickled."""


@dataclass(frozen=True)
class Packed:
    """A pickled task, and beside it what it names: ``held`` in this process alone."""

    task: bytes
    values: bytes
    sizes: tuple[int, int, int]
    dtype: str
    held: dict[int, Any]


def pack(value: Any, source: Source, /) -> bytes:
    """Pickle a task of a source without its rows; `unpack` says what stands for the rest."""
    import cloudpickle

    return pickle.dumps(_packed(value, source, cloudpickle.Pickler), pickle.HIGHEST_PROTOCOL)


def pack_here(value: Any, source: Source, /) -> Packed:
    """The same, to be opened in this process."""
    return _packed(value, source, _Here)


def _packed(value: Any, source: Source, pickler: Any) -> Packed:
    values: dict[int, Any] = {}
    held: dict[int, Any] = {}

    class Packer(pickler):  # type: ignore[misc]
        def persistent_id(self, obj: Any) -> Any:
            if type(obj) in _PLAIN:  # most of all
                return None
            if isinstance(obj, (np.ndarray, OnHost)):
                values[id(obj)] = obj
                return id(obj)
            if isinstance(obj, _Held):
                held[id(obj.value)] = obj.value
                return "held", id(obj.value)
            return _named(obj, source)

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, types.MethodType):
                # of a kernel: that of the kernel there
                return getattr, (obj.__self__, obj.__func__.__name__)
            if isinstance(obj, Nearest):
                # what a kernel made of the centers is nothing to another
                return Nearest, (obj.centers, obj.shift, obj.scale, obj.reach, obj.first)
            if isinstance(obj, Block):
                # which one it is, without what it holds
                return Block, (None, None, obj.start, obj.number, {}, obj.n_rows)
            return super().reducer_override(obj)

    file = io.BytesIO()
    Packer(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    sizes = source.n_rows, source.n_features, source.piece_rows
    there = pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
    return Packed(file.getvalue(), there, sizes, str(source.sample.dtype), held)


def _named(obj: Any, source: Source) -> Any:
    """What something is called that is another thing there; None for all that travels as it is."""
    if obj is source:
        return "source", None
    if obj is source.xp:
        return "xp", None
    if isinstance(obj, Context):
        return "context", None
    if isinstance(obj, Surveyor):
        return "surveyor", obj.kernel or NumpyKernel
    if isinstance(obj, NumpyKernel):
        return "kernel", type(obj)
    return ("kernel", NumpyKernel) if isinstance(obj, ReferenceKernel) else None


class _Held:
    """Something that stays where it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Here(pickle.Pickler):
    """Takes functions inside of functions, too, whose code stays where it is."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.FunctionType) and "<locals>" in obj.__qualname__:
            return _function, (_Held(obj), obj.__defaults__, obj.__closure__)
        if isinstance(obj, types.CellType):
            # filled at last: what it holds may name it
            return _cell, (), (obj.cell_contents,), None, None, _fill
        if isinstance(obj, types.ModuleType):
            return importlib.import_module, (obj.__name__,)
        return NotImplemented


def _function(like: types.FunctionType, defaults: Any, closure: Any) -> types.FunctionType:
    made = types.FunctionType(like.__code__, like.__globals__, like.__name__, defaults, closure)
    made.__kwdefaults__ = like.__kwdefaults__
    return made


def _cell() -> types.CellType:
    return types.CellType()


def _fill(cell: types.CellType, contents: tuple[Any]) -> None:
    (cell.cell_contents,) = contents


def unpack(packed: bytes | Packed, context: Context, kernel: Callable[[Kind], Kernel], /) -> Any:
    """Open a task in a context, with its kernel by the kind that NumPy's would be of.

    Arrays move to the context, but for those that say that they are the host's (`OnHost`).
    """
    parts: Packed = pickle.loads(packed) if isinstance(packed, bytes) else packed
    source = Elsewhere(parts.sizes, parts.dtype, context)
    values = pickle.loads(parts.values)
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            values[name] = context.from_host(value)
    there = {"source": source, "xp": context.xp, "context": context}

    class Opener(pickle.Unpickler):
        def persistent_load(self, name: Any) -> Any:
            if isinstance(name, int):
                return values[name]
            what, which = name
            if what == "held":
                return parts.held[which]
            if what == "surveyor":
                return kernel(which).surveyor
            return kernel(which) if what == "kernel" else there[what]

    return Opener(io.BytesIO(parts.task)).load()


def plan_there(shape: Shape, backends: Sequence[str], /, *, float32_products: bool = True) -> Plan:
    """The plan for rows of these libraries, in blocks that suit all.

    Without groups of centers, which kernels make in their own ways.
    """
    plans = [
        select(shape, backend=backend, threads=1, float32_products=float32_products)
        for backend in dict.fromkeys(backends)
    ]
    return replace(
        plans[0],
        kernel=",".join(dict.fromkeys(plan.kernel for plan in plans)),
        block_rows=min(plan.block_rows for plan in plans),
        piece_rows=min(plan.piece_rows for plan in plans),
        seeding_rows=min(plan.seeding_rows for plan in plans),
        prunes=any(plan.prunes for plan in plans),
        group_size=0,
    )


def kernel_there(context: Context, kind: Kind, /) -> Kernel:
    """A new kernel for rows of this context."""
    if context.backend != "numpy":
        return kernel_for(context)
    # blocks come and go
    return NumpyKernel(keeps=False) if kind is NumpyKernel else kind()


def at_home(reply: Any, /) -> Any:
    """What a task returned, with its arrays on the host."""
    if isinstance(reply, (tuple, list)):
        parts = [at_home(part) for part in reply]
        return type(reply)(*parts) if hasattr(reply, "_fields") else type(reply)(parts)
    is_array = array_api_compat.is_array_api_obj(reply) and not isinstance(reply, np.generic)
    if not is_array:
        return reply
    host = to_host(reply)
    # sums are added to; NumPy before 2.2 takes what other libraries hand over for read-only
    return host if host.flags.writeable else host.copy()


class Away(Rows):
    """Sources whose tasks travel to the rows; what is taken comes to the host."""

    is_resident = shares = is_stored = False
    weight_exponent: int | None

    @abstractmethod
    def _run(
        self, task: Callable[..., T], words: int | None, blocks: Sequence[Block] | None
    ) -> tuple[list[T], Array | None]:
        """One pass: the replies, and what the accumulators (if ``words`` is given) hold in all."""

    def map(self, task: Callable[[Block], T], blocks: Sequence[Block] | None = None, /) -> list[T]:
        """Run ``task`` once on every block (of the source, or of `spans`), in row order."""
        return self._run(task, None, blocks)[0]

    def add_up(
        self,
        task: Callable[[Block, Accumulator], T],
        words: int,
        blocks: Sequence[Block] | None = None,
        /,
    ) -> tuple[list[T], Array | None]:
        """As `map`; what the tasks add to the accumulator of their place is merged."""
        return self._run(task, words, blocks)

    def take(self, rows: Sequence[int], /) -> Array:
        """The named rows as one array."""
        return taken(self, rows, rows_at)

    def take_weights(self, rows: Sequence[int], /) -> Array | None:
        """The weights of the named rows, if there are weights."""
        return None if self.weight_exponent is None else taken(self, rows, weights_at)


class Wanted(OnHost):
    """Numbers of rows, of which a task takes those of its block."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)

    def of(self, block: Block, values: Array, /) -> Array:
        """What belongs to them of one value a row of the block."""
        mine = (self.rows >= block.start) & (self.rows < block.start + block.n_rows)
        xp = context_of(values).xp
        return some(values, to_device(self.rows[mine] - block.start, values, xp=xp), xp=xp)


def taken(
    source: Source | Away, rows: Sequence[int], pick: Callable[[Wanted, Block], Array], /
) -> Array:
    """What ``pick`` finds of the named rows, in their order."""
    wanted = Wanted(rows)
    starts = np.asarray([block.start for block in source.blocks])
    numbers = np.searchsorted(starts, wanted.rows, side="right") - 1
    blocks = [source.blocks[number] for number in np.unique(numbers)]
    found = np.concatenate(source.map(functools.partial(pick, wanted), blocks))
    positions = np.concatenate([np.flatnonzero(numbers == block.number) for block in blocks])
    return found[np.argsort(positions)]


def rows_at(wanted: Wanted, block: Block, /) -> Array:
    """The rows of a block that are wanted."""
    return wanted.of(block, block.x)


def weights_at(wanted: Wanted, block: Block, /) -> Array:
    """Their weights."""
    assert block.weight is not None
    return wanted.of(block, block.weight)
