"""Choosing the number of clusters."""

from ._choose import choose_k
from ._result import ChooseKResult, Step

__all__ = ["ChooseKResult", "Step", "choose_k"]
