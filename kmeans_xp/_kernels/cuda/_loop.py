"""Lloyd's iterations without the host: it is told of several at once, or waits once for each.

Few clusters: a pass labels rows and adds up those that changed, another renews the centers and
judges the iteration, and so on until the device's own verdict ends it; the host waits for a batch
of iterations, and what was launched beyond the last does nothing.  Small work is always done so.
Much of it is where memory bounds the pass (`_route.sweeps`), in batches that take milliseconds,
until many rows are left open or few changed.  Then, and with many clusters, all rungs of labels,
the sums and the centers of an iteration follow each other, and the host waits once.  There rows
may keep bounds, and have none when that begins.  Labels and sums are the same in every way.
What the device cannot do alone (an empty cluster to fill) is left to the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ... import _primitives as p
from ..._backend import dtype_name, to_host
from ..._ledger import Advance
from ..._typing import Array
from ._arguments import like
from ._loop_calls import EMPTY, OPEN, Counters, LoopCalls, Record
from ._route import bounds_pay, dtype_of, most_shared, sweeps
from ._sweep import Sums, Terms, sweep_bytes

_FIRST_BATCH, _MOST_BATCH = 4, 16
_MOST_BATCH_BYTES = 1 << 33  # of rows: milliseconds, after which Ctrl-C is heard
_MOST_SWEEP_WORK = 1 << 30
_CENTERS_AT_ONCE = 64
_ROWS_A_CHANGE = 1 << 21  # twice as many 40-bit integers stay below 2**62
_HIGH_OPEN_SHARE = 0.25


def _turn(number: int) -> int:
    """Of three arrays the first is read once; the other two take turns."""
    return 0 if number == 0 else 1 + (number - 1) % 2


def sweeps_at_once(
    n_rows: int, d: int, k: int, change: Array, work: str, capability: int, /
) -> bool:
    """Whether rows of few clusters are labelled and added up in one pass."""
    scores = n_rows * d * -(-k // _CENTERS_AT_ONCE) * _CENTERS_AT_ONCE
    return scores <= _MOST_SWEEP_WORK and sweep_bytes(work, d, change) <= most_shared(capability)


class Way(NamedTuple):
    """How rows are labelled and added up in one pass."""

    work: str  # products
    is_small: bool  # always in this way; else until another is better
    most: int  # iterations between two waits


def advance(
    kernel: Any, problem: Any, centers: Array, totals: Array | None, tolerance: float, most: Any, /
) -> Advance:
    """Iterations from these centers; see `_typing.Kernel`."""
    # the kernels walk them row by row, and an `init` may come by columns
    centers = kernel.xp.ascontiguousarray(centers)
    if totals is None:  # a run begins
        problem.source.blocks[0].state.pop("apart", None)
    loop = Loop.of(kernel, problem, centers, totals, tolerance)
    nearest = problem.nearest_to(centers, screens=False)
    way = loop.way(nearest)
    return loop.one(nearest) if way is None else loop.batch(nearest, way, most)


@dataclass(frozen=True)
class Loop:
    """What iterations of a run share."""

    kernel: Any
    problem: Any
    calls: LoopCalls
    sums: Sums
    tolerance: float

    @classmethod
    def of(
        cls, kernel: Any, problem: Any, centers: Array, totals: Array | None, tolerance: float, /
    ) -> Loop:
        """Begin with no sums if there are no totals."""
        xp, ledger = kernel.xp, problem.ledger
        shape = int(centers.shape[0]), int(ledger.n_columns)
        if totals is None:
            zeros = xp.zeros((ledger.words + 1, *shape), dtype=xp.int64, **like(centers))
            totals, change = zeros[: ledger.words, ...], zeros[ledger.words, ...]
        else:
            change = xp.zeros(shape, dtype=xp.int64, **like(centers))
        up, limbs, weight_up, weight_limbs = ledger.scales
        sums = Sums(
            totals,
            change,
            (up, limbs),
            (weight_up, weight_limbs),
            ledger.down,
            ledger.is_short,
        )
        return cls(kernel, problem, LoopCalls(xp, kernel.launcher), sums, tolerance)

    def way(self, nearest: p.Nearest, /) -> Way | None:
        """How all is done in one pass; None where rows are labelled and then added up."""
        source, change = self.problem.source, self.sums.change
        blocks, capability = source.blocks, self.kernel.launcher.capability
        n, (k, d) = source.n_rows, (int(size) for size in nearest.centers.shape)
        work = "float32" if nearest.first == "float32" else "float64"
        is_one = len(blocks) == self.sums.totals.shape[0] == 1
        if is_one and sweeps_at_once(n, d, k, change, work, capability):
            return Way(work, True, _MOST_BATCH)
        if nearest.first == "exact" or "apart" in blocks[0].state:
            return None
        work = self.kernel.products(nearest)[0].removesuffix(" wgmma")
        row_bytes = d * blocks[0].x.itemsize
        if not sweeps(n, d, k, row_bytes, work, capability):
            return None
        if sweep_bytes(work, d, change) > most_shared(capability):
            return None
        return Way(work, False, min(max(1, _MOST_BATCH_BYTES // (n * row_bytes)), _MOST_BATCH))

    def batch(self, nearest: p.Nearest, way: Way, most: int | None, /) -> Advance:
        """As many iterations as were launched at once, or as the device's verdict lets pass."""
        source = self.problem.source
        state = source.blocks[0].state
        pause = min(state.pop("batch", _FIRST_BATCH), way.most)
        # labels and centers move on without them
        source.forget("bounds")
        count = pause if most is None else min(most, pause)
        centers, records = self._launch(nearest, way, count)
        told = [Record.of(numbers) for numbers in to_host(records).tolist()]
        done = next((at + 1 for at, record in enumerate(told) if record.reason), count)
        last, is_pending = told[done - 1], told[done - 1].reason == EMPTY
        # more at a time for as long as none was launched in vain
        state["batch"] = min(2 * pause, _MOST_BATCH) if done == count else _FIRST_BATCH
        self._learn_of_pass(last, way)
        finished = told[: done - is_pending]
        return Advance(
            centers[_turn(len(finished))],
            self.sums.totals,
            [(record.changed, record.moved) for record in finished],
            last.changed if is_pending else None,
        )

    def _launch(
        self, nearest: p.Nearest, way: Way, count: int, /
    ) -> tuple[tuple[Array, Array, Array], Array]:
        """Launch iterations: their centers in turns, and their records (count, RECORD)."""
        xp, source, first = self.kernel.xp, self.problem.source, nearest.centers
        row, factor, product = dtype_name(source.sample), nearest.scale.factor, dtype_of(way.work)
        terms = Terms.of(nearest, way.work, row, xp=xp)
        weights, bias = self.kernel.calls.prepare(first, product, terms.shift, factor, terms.share)
        panel = self.calls.panel(weights, bias, terms)
        centers = first, xp.empty_like(first), xp.empty_like(first)
        stop, tally, records = Counters.none(count, first, xp=xp)
        moves = xp.empty((2, int(first.shape[0])), dtype=xp.float64, **like(first))
        judged = nearest.first == "float32" or not way.is_small
        most_open = int(_HIGH_OPEN_SHARE * source.n_rows) if judged else 1 << 62
        for number in range(count):
            old, new = _turn(number), _turn(number + 1)
            here = p.Nearest(
                centers[old], nearest.shift, nearest.scale, nearest.reach, nearest.first
            )
            self.calls.draw(panel, terms, row)
            waiting = 0
            for block in source.blocks:
                waiting = self._make_room(waiting, block.n_rows)
                before = block.state.get("labels")
                if before is None:
                    block.state["labels"] = xp.empty(block.n_rows, dtype=xp.int32, **like(block.x))
                # written over: each row is looked at once
                after = block.state["labels"]
                self.calls.sweep(block, here, terms, panel, before, after, self.sums, stop, tally)
            self.calls.recenter(
                here, centers[new], self.sums, moves, self.tolerance, records[number, :],
                stop=stop, tally=tally, terms=terms, panel=panel, most_open=most_open,
            )  # fmt: skip
        return centers, records

    def _learn_of_pass(self, last: Record, way: Way) -> None:
        """What the last iteration of a batch says about the next one."""
        problem, source = self.problem, self.problem.source
        if way.is_small:
            problem.learn(last.open_rows, source.n_rows)
            return
        row_bytes = source.n_features * source.sample.itemsize
        if last.reason == OPEN:
            # perhaps for repeated centers, which the rungs tell apart
            problem.pruner.seeks_repeats = True
            source.blocks[0].state["apart"] = True
        elif problem.plan.prunes and bounds_pay(last.changed, source.n_rows, row_bytes):
            source.blocks[0].state["apart"] = True

    def _make_room(self, waiting: int, n_rows: int) -> int:
        """Merge the change before more rows could overflow it; how many it holds with them."""
        if waiting + n_rows > _ROWS_A_CHANGE:
            self.calls.merge(self.sums)
            waiting = 0
        return waiting + n_rows

    def one(self, nearest: p.Nearest, /) -> Advance:
        """One iteration of every block, and one wait."""
        xp, problem, kernel = self.kernel.xp, self.problem, self.kernel
        blocks = problem.source.blocks
        befores = [block.state.get("labels") for block in blocks]
        drift, is_new = problem.pruner.drift_for(nearest)
        if is_new:
            problem.source.forget("bounds")
        self._make_ready(nearest)
        looks, carried, waiting = [], [], 0
        for block, before in zip(blocks, befores, strict=True):
            look = kernel.launch_look(block.x, nearest, drift, block.state)
            kernel.launch_settle(block.x, nearest, block.state["labels"], look)
            looks.append(look.told())
            waiting = self._make_room(waiting, block.n_rows)
            scales = problem.ledger.scales
            carried.append(kernel.calls.add_rows(block, before, scales, self.sums.change))
        counts = [count for look in looks for count in look.counts] + carried
        after = xp.empty_like(nearest.centers)
        moves = xp.empty((2, int(after.shape[0])), dtype=xp.float64, **like(after))
        stop, tally, records = Counters.none(1, after, xp=xp)
        self.calls.recenter(
            nearest, after, self.sums, moves, self.tolerance, records[0, :], stop=stop, tally=tally,
        )  # fmt: skip
        # in the shadow of what the device is at
        pruner = problem.pruner
        tentative = None if pruner.drift is None else self.calls.drift(pruner.drift, moves[0, :])
        numbers = to_host(xp.concat([*counts, records[0, :]])).tolist()
        seen = [look.read(numbers) for look in looks]
        changed = sum(numbers.pop(0) for _ in blocks)
        told = Record.of(numbers)
        self._learn(nearest, looks, seen)
        if told.empties:
            return Advance(nearest.centers, self.sums.totals, [], changed)
        pruner.follow(tentative)
        return Advance(after, self.sums.totals, [(changed, told.moved)], None)

    def _make_ready(self, nearest: p.Nearest) -> None:
        """Do without a look for repeated centers, for which the host waits, if few rows are open.

        A row between repeated centers is left open: that costs time and nothing else.
        """
        if not self.problem.pruner.seeks_repeats:
            nearest.notes["repeats"] = None

    def _learn(self, nearest: p.Nearest, looks: list[Any], seen: list[Any]) -> None:
        """What the rows that were scored and left open say about the next iteration."""
        problem, n_rows = self.problem, self.problem.source.n_rows
        for look, found in zip(looks, seen, strict=True):
            self.kernel.learn(look, found)
        scored = sum(found.scored for found in seen)
        left = sum(found.left[-1] for found in seen if found.left)
        if left > _HIGH_OPEN_SHARE * scored and not problem.pruner.seeks_repeats:
            problem.pruner.seeks_repeats = True
        else:
            problem.learn(left, scored)
        problem.pruner.learn(scored, n_rows)
