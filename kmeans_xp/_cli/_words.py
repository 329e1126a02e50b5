"""Words of the command line turned into values."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from .._files import size_of

LARGEST_SEED = 2**32 - 1
CRITERIA = (
    "elbow",
    "calinski_harabasz",
    "davies_bouldin",
    "silhouette",
    "silhouette_sampled",
    "silhouette_simplified",
    "gap",
    "bic",
)


def at_least(low: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return int(text)

    return convert


def or_word(word: str, low: int) -> Callable[[str], Any]:
    """A number, or a word: "auto" stays itself and "none" is None."""

    def convert(text: str) -> Any:
        if text.lower() == word:
            return None if word == "none" else word
        try:
            return at_least(low)(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f'{error}, nor "{word}"') from None

    return convert


def search(text: str) -> Any:
    """A number of passes, "auto", or seconds, which stay as they are; None for "off"."""
    if text.lower() in ("off", "none"):
        return None
    if re.fullmatch(r"(\d+(\.\d*)?|\.\d+) *s", text, re.ASCII) and float(text[:-1]) > 0.0:
        return text
    try:
        return or_word("auto", 1)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f'{error}, nor "off", nor seconds such as "10s"') from None


def size(text: str) -> int:
    """Bytes."""
    try:
        return size_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; give bytes, or a text such as 500MB or 1.5GiB"
        ) from None


def seed(text: str) -> int:
    number = at_least(0)(text)
    if number > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is above the largest seed, {LARGEST_SEED}")
    return number


def number(text: str, low: float, high: float = float("inf")) -> float:
    """A number from the first to less than the second."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value < high:
        below = "" if high == float("inf") else f" and less than {high:g}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least {low:g}{below}")
    return value


def tolerance(text: str) -> float:
    return number(text, 0.0)


def fuzzifier(text: str) -> float:
    return number(text, 1.0)


def share(text: str) -> float:
    return number(text, 0.0, 1.0)


def radius(text: str) -> float:
    value = number(text, 0.0)
    if value == 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


def device(text: str) -> str:
    one = r"(cpu|cuda(:\d+)?)"
    if re.fullmatch(rf"{one}(,{one})*|auto|cuda:all", text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not known; use cpu, cuda, cuda:1 or auto, or several as cuda:0,cuda:1"
        )
    return text


def criteria(text: str) -> list[str]:
    """Names, or one word that stands for several."""
    names = [word.strip() for word in text.split(",")]
    unknown = [name for name in names if name not in CRITERIA]
    if unknown and names not in (["default"], ["all"]):
        known = ", ".join(CRITERIA)
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not known; use default, all, {known}")
    return names
