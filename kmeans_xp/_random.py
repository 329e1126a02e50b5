"""Random bits keyed by (seed, purpose, position): no generator state, so no order.

The mixing function is SplitMix64's finaliser (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014), written once for Python integers and once
for int64 arrays, which wrap around alike on every library.
"""

from __future__ import annotations

import enum

import array_api_compat

from ._typing import Array, Namespace

_WORD = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


class Purpose(enum.IntEnum):
    """What a draw is for; draws for different purposes never share bits."""

    RUN = 1
    SEEDING = 2
    PARTITION = 3
    OVERSAMPLE = 4
    EMPTY = 5
    PROBLEM = 6
    SAMPLE = 7
    REFERENCE = 8
    PICTURE = 9
    SEARCH = 10
    BATCH = 11
    VALIDATION = 12
    SUBSET = 13
    REASSIGN = 14
    DIGEST = 15


def mix(*words: int) -> int:
    """64 bits that depend on every word."""
    state = 0
    for word in words:
        state = _finalise((state ^ (word & _WORD)) + _GAMMA & _WORD)
    return state


def _finalise(bits: int) -> int:
    # the loop of `row_bits` written out: each draw takes six of these
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _WORD
    return bits ^ (bits >> 31)


def below(bound: int, *key: int) -> int:
    """Draw an integer in [0, bound) from 128 keyed bits (bias under bound / 2**128)."""
    state = mix(*key)
    high, low = (_finalise((state + step * _GAMMA) & _WORD) for step in (1, 2))
    return (((high << 64) | low) * bound) >> 128


def row_bits(start: int, count: int, like: Array, /, *key: int, xp: Namespace) -> Array:
    """63 keyed bits a row, as int64, for rows ``start`` to ``start + count``."""
    device = array_api_compat.device(like)
    bits = xp.arange(start, start + count, dtype=xp.int64, device=device)
    bits = (bits ^ _signed(mix(*key))) + _signed(_GAMMA)
    return _finalise_array(bits) & ((1 << 63) - 1)


def mixed(words: Array, start: int, /, *key: int, xp: Namespace) -> Array:
    """64 bits (int64) of each row's word, which depend on the row's number and the key too."""
    return _finalise_array(words + row_bits(start, int(words.shape[0]), words, *key, xp=xp))


def _finalise_array(bits: Array) -> Array:
    for shift, factor in _MIX:
        logical = (bits >> shift) & ((1 << (64 - shift)) - 1)
        bits = (bits ^ logical) * _signed(factor)
    return bits


def row_uniform(start: int, count: int, like: Array, /, *key: int, xp: Namespace) -> Array:
    """Keyed float64 numbers in [0, 1) with 53 bits, one a row."""
    bits = row_bits(start, count, like, *key, xp=xp) >> 10
    return xp.astype(bits, xp.float64) * 2.0**-53


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word
