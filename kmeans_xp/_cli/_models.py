"""The estimator that the options of a fit ask for."""

from __future__ import annotations

import argparse
import secrets
from typing import Any

from .._files import UsageError
from ._words import ALGORITHMS, LARGEST_SEED

_SHARED = ("n_clusters", "init", "n_init", "max_iter", "tol", "device", "memory_limit")
_OWN: dict[str, tuple[str, ...]] = {
    "lloyd": ("search", "empty_cluster", "checkpoint"),
    "minibatch": ("batch_size",),
}
# of options that are left out: those of the estimators
_DEFAULTS: dict[str, dict[str, Any]] = {
    "lloyd": {"max_iter": 300, "tol": 1e-4, "empty_cluster": "farthest"},
    "minibatch": {"max_iter": 100, "tol": 0.0, "batch_size": 1024},
}


def settle(args: argparse.Namespace) -> None:
    """Give options that were left out their values, and refuse those of the other algorithm."""
    (other,) = set(ALGORITHMS) - {args.algorithm}
    for name in _OWN[other]:
        value = getattr(args, name, None)
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} {value} is an option of --algorithm {other}, and "
                f"this is {args.algorithm}. Leave it out, or take that algorithm"
            )
    for name, value in _DEFAULTS[args.algorithm].items():
        setattr(args, name, getattr(args, name, value))
    if args.algorithm == "minibatch" and args.max_iter is None:
        raise UsageError(
            "--max-iter none: --algorithm minibatch draws the rows of so many passes at most. "
            "Give their number"
        )
    if args.checkpoint is not None and args.seed is None:
        raise UsageError(
            "--checkpoint needs --seed N: a fit that goes on must draw what it drew before"
        )


def parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The estimator's parameters; where its checkpoint lies is no one's but the command's."""
    names = (*_SHARED, *_OWN[args.algorithm])
    return {name: getattr(args, name) for name in names if name != "checkpoint"}


def model_for(args: argparse.Namespace) -> Any:
    """The estimator, not fitted yet."""
    from .. import KMeans, MiniBatchKMeans

    seed = secrets.randbelow(LARGEST_SEED + 1) if args.seed is None else args.seed
    if args.algorithm == "minibatch":
        return MiniBatchKMeans(**parameters(args), random_state=seed)
    return KMeans(**parameters(args), random_state=seed, checkpoint=args.checkpoint)
