"""The seam: which kernel runs, how wide its blocks are, and with which precision it starts."""

from ._meter import METER
from ._price import Kind
from ._select import Plan, Shape, load, select

__all__ = ["METER", "Kind", "Plan", "Shape", "load", "select"]
