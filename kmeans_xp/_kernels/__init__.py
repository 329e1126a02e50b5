"""The seam: which kernel runs, how wide its blocks are, and with which precision it starts."""

from ._meter import METER, ONE_SWEEP
from ._price import Kind
from ._select import LEAST_ROWS, Plan, Shape, kernel_for, load, load_launcher, select

__all__ = [
    "LEAST_ROWS",
    "METER",
    "ONE_SWEEP",
    "Kind",
    "Plan",
    "Shape",
    "kernel_for",
    "load",
    "load_launcher",
    "select",
]
