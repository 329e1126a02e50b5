"""Bugs planted in the CUDA sources: none may pass the checks."""

from __future__ import annotations

import pytest
from checks import everything
from emulator import EmulationError, cuda_kernel

from kmeans_xp._kernels.cuda._source import UNITS

BUGS = [
    (
        "assign.cu",
        "const int width = min(PART, d - start);\n      __syncthreads();",
        "const int width = min(PART, d - start);",
    ),
    ("assign.cu", "      __syncthreads();\n      if (center == 0", "      if (center == 0"),
    ("assign.cu", "if (score < best)", "if (score <= best)"),
    ("assign.cu", "|| (other.best == best && other.label < label)", ""),
    ("assign.cu", "if (behind < second) second = behind;", ""),
    ("assign.cu", "} else if (score < second) {", "} else {"),
    ("assign.cu", "if (c >= k) continue;", ""),
    ("assign.cu", "down * LANE_ROWS + i];", "down + i * SIDE];"),
    ("assign.cu", "if (center == 0 && thread < ROWS)", "if (thread < ROWS)"),
    ("assign.cu", "ROW_STRIDE = ROWS + 1", "ROW_STRIDE = ROWS - 1"),
    ("assign.cu", "best + of(best, half) < second;", "best + of(best, half) <= second;"),
    (
        "assign.cu",
        "  __syncthreads();\n  if (thread < ROWS) {\n    mine",
        "  if (thread < ROWS) {\n    mine",
    ),
    ("assign.cu", "!settled || (twinned && twinned[found.label])", "!settled"),
    (
        "assign.cu",
        "!settled || (twinned && twinned[found.label])",
        "twinned && twinned[found.label]",
    ),
    ("assign.cu", "> kept.table(k + label)", "< kept.table(k + label)"),
    ("assign.cu", "if (!(near < far)) append", "if (near < far) append"),
    ("exact.cu", "at = level;", "at = 0;"),
    ("exact.cu", "if (lane + half < width) value", "value"),
    ("exact.cu", "if (found < best)", "if (found <= best)"),
    ("exact.cu", "|| (other == mine && theirs < label[threadIdx.x])", ""),
    ("exact.cu", "__dmul_rn(widen(x), before)", "widen(x)"),
    ("exact.cu", "labels[place] = label[0]", "labels[place] = label[1]"),
    ("sums.cu", "if (before) sums.put(from + column, turn, -whole);", ""),
    ("sums.cu", "__dmul_rn(__dsub_rn(rest, whole), ONE_LIMB)", "__dsub_rn(rest, whole)"),
    ("sums.cu", "!(before && before[mine] == after[mine]) && ", ""),
    ("sums.cu", " && cells.has_weight(mine)", ""),
    ("sums.cu", "    if (copies) __syncthreads();\n  }", "  }"),
    ("sums.cu", "    if (copies) __syncthreads();\n    for", "    for"),
    (
        "sums.cu",
        "    __syncthreads();\n    for (int at = threadIdx.x; at < count",
        "    for (int at = threadIdx.x; at < count",
    ),
    ("sums.cu", "(value >> 32) + carries", "(value >> 32)"),
    ("sums.cu", "turn & (copies - 1)", "turn"),
    ("sums.cu", "at < copies * stride(); at += stride()", "at < stride(); at += stride()"),
    (
        "sums.cu",
        "if (lane == 31) scan[warp] = upto;\n  __syncthreads();",
        "if (lane == 31) scan[warp] = upto;",
    ),
    ("segments.cu", " + __popc(peers & ((1u << lane) - 1))", ""),
    ("segments.cu", "takes_part ? label : -1", "label"),
    ("segments.cu", "__shfl_sync(~0u, first, leader)", "first"),
    ("segments.cu", "if (before) claim(counts, moves ? before[row] : 0, moves);", ""),
    ("segments.cu", " &&\n                       !(weight && !(weight[row] > 0.0))", ""),
    ("segments.cu", "if (!__any_sync(~0u, moves)) continue;", "if (!moves) continue;"),
    ("segments.cu", "if (cluster < k) counts[cluster] = start;", ""),
    ("segments.cu", "if (other < warp) before += scan[other];", ""),
    ("segments.cu", "scan[WARPS] + before", "before"),
    ("segments.cu", "  __syncthreads();\n  return scan[WARPS]", "  return scan[WARPS]"),
    ("segments.cu", "blockIdx.x == 0 && threadIdx.x == 0", "threadIdx.x == 0"),
    ("segments.cu", "= 2 * row + 1;", "= 2 * row;"),
    ("segments.cu", "(entry & 1 ? before : after)", "after"),
    ("segments.cu", "if (leaves) whole = -whole;", ""),
    ("segments.cu", "        run.flush(part, columns, sums);\n", ""),
    ("segments.cu", "  run.flush(part, columns, sums);\n}", "}"),
    ("segments.cu", "    high = low = 0;\n", ""),
    ("segments.cu", "if (at >= end) break;", ""),
    ("segments.cu", "weighs ? factors[at] : 1.0", "1.0"),
    ("segments.cu", "add(into + part.step, low);", ""),
    ("segments.cu", "cells.limbs, part / d * 2,", "cells.limbs, part / d,"),
    ("segments.cu", "    __syncthreads();  // the chunk before was read\n", ""),
    ("segments.cu", "    __syncthreads();\n    const int begin", "    const int begin"),
    ("segments.cu", "(int)(task % groups) * width + seat", "seat"),
    ("segments.cu", "min(length, total - start)", "length"),
    (
        "assign_mma.cu",
        "    __syncthreads();\n    if (next_center < k) fetch",
        "    if (next_center < k) fetch",
    ),
    ("assign_mma.cu", "store(buffers + (turn ^ 1) * BUFFER)", "store(buffers + turn * BUFFER)"),
    (
        "assign_mma.cu",
        "group + r % 2 * 8) * STRIDE",
        "group + r / 2 * 8) * STRIDE",
    ),
    ("assign_mma.cu", "j * 8 + member * 2 + side;", "j * 8 + member + side * 4;"),
    ("assign_mma.cu", "c < k && f < d ? weights", "c < k ? weights"),
    ("assign_mma.cu", "        sum = 0;", ""),
    ("assign_mma.cu", "found[i].join_lane(2);", ""),
    (
        "assign_mma.cu",
        "mine.join({best[ROWS + thread], second[ROWS + thread], label[ROWS + thread]});",
        "",
    ),
    ("assign_mma.cu", "  __syncthreads();\n  if (thread >= ROWS", "  if (thread >= ROWS"),
    ("assign_mma.cu", "half[r] = 0.5f * squares", "half[r] = squares"),
    ("assign_mma.cu", "? bias[c] : (float)infinity()", "? bias[c] : 0.0f"),
    ("recenter.cu", "  *change = 0;\n", ""),
    ("recenter.cu", "*high += (part >> LIMB) + over;", "*high += over;"),
    ("recenter.cu", "*low = sum - (over << LIMB);", "*low = sum;"),
    ("recenter.cu", "is_empty ? before[number * d + f]\n                         :", ""),
    ("recenter.cu", "if (is_empty) atomicAdd(tally + 3, 1ULL);", ""),
    ("recenter.cu", "changed == 0 ", "changed <= 5 "),
    ("recenter.cu", "moved <= tolerance ?", "moved < tolerance ?"),
    ("recenter.cu", "open > most_open", "open >= most_open"),
    ("recenter.cu", "values[half + at]", "values[width - 1 - at]"),
    ("recenter.cu", "  if (*stop) return;\n", ""),
    ("recenter.cu", "shift ? widen(shift[f]) : 0.0", "0.0"),
    ("recenter.cu", "(Work)(share * room[0])", "(Work)(share * room[1])"),
    (
        "recenter.cu",
        "      __syncthreads();\n      if (threadIdx.x < step) room",
        "      if (threadIdx.x < step) room",
    ),
    ("recenter.cu", "  __syncthreads();\n  if (!*is_last) return;", "  if (!*is_last) return;"),
    ("recenter.cu", "    width = half;\n    __syncthreads();", "    width = half;"),
    ("recenter.cu", "low ? low[column] : whole & ((1LL << LIMB) - 1)", "low ? low[column] : whole"),
    ("recenter.cu", "error = __dadd_rn(error, __dmul_rn(a_low, b));", ""),
    ("recenter.cu", "__ddiv_rn(left, weight)", "0.0"),
    ("recenter.cu", "limbs * d + limb, first, second", "limb, first, second"),
    ("fused.cu", "old[thread] != labels[thread] && ", ""),
    ("fused.cu", "    if (thread < 2) counts[thread] = 0;\n", ""),
    ("fused.cu", "if (found < best) {", "if (found <= best) {"),
    ("fused.cu", "|| (distance[other] == best && number[other] < winner)", ""),
    ("fused.cu", "other < min(groups, k)", "other < min(groups, k) - 1"),
    ("fused.cu", "if (from >= 0) sums.put", "if (false) sums.put"),
    ("fused.cu", " && cells.has_weight(mine)", ""),
    (
        "fused.cu",
        "    }\n    __syncthreads();\n    for (int at = thread; at < counts[1]",
        "    }\n    for (int at = thread; at < counts[1]",
    ),
    (
        "fused.cu",
        "const i64 mine = first + thread;\n    __syncthreads();",
        "const i64 mine = first + thread;",
    ),
    ("fused.cu", "  sums.flush();\n", ""),
    ("fused.cu", "turn, -whole", "turn, whole"),
]


@pytest.mark.parametrize(("file", "before", "after"), BUGS)
def test_planted_bugs_are_caught(file: str, before: str, after: str) -> None:
    texts = [unit.text for unit in UNITS if unit.file == file]
    assert all(before in text for text in texts), "the text that the bug replaces is gone"
    kernel = cuda_kernel(lambda text: text.replace(before, after))
    with pytest.raises((AssertionError, EmulationError, IndexError)):
        everything(kernel, file)


@pytest.mark.parametrize("file", sorted({unit.file for unit in UNITS}))
def test_no_bug_is_seen_where_none_was_planted(file: str) -> None:
    everything(cuda_kernel(), file)
