"""What tests of checkpoints share."""

from __future__ import annotations

import numpy as np


def damaged(content: bytes) -> list[bytes]:
    """The content of a checkpoint, cut short, with a bit changed, and with a byte more."""
    random = np.random.default_rng(0)
    cuts = [0, 1, 22, 23, 54, 55, len(content) - 1, *random.integers(len(content), size=8)]
    found = [content[:cut] for cut in cuts]
    for place in [23, 54, 55, len(content) - 1, *random.integers(23, len(content), size=20)]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(random.integers(8))
        found.append(bytes(flipped))
    return [*found, content + b"x"]
