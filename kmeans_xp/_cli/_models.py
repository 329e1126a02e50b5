"""The estimator that the options of a fit ask for."""

from __future__ import annotations

import argparse
import secrets
from typing import Any

from .._files import UsageError
from ._algorithms import ALGORITHMS, Algorithm, estimator_of, takers
from ._words import LARGEST_SEED


def settle(args: argparse.Namespace) -> None:
    """Give options that were left out their values, and refuse those of other algorithms."""
    entry = ALGORITHMS[args.algorithm]
    options = dict.fromkeys(option for other in ALGORITHMS.values() for option in other.takes)
    for option in options:
        if option not in entry.takes:
            if hasattr(args, option):
                raise UsageError(_not_taken(option, args))
            setattr(args, option, None)
    _check_memberships(args, entry)
    for option in entry.needs_number:
        if hasattr(args, option) and not isinstance(getattr(args, option), int):
            raise UsageError(
                f"{_said(option, args)}: --algorithm {args.algorithm} needs a number there"
            )
    if getattr(args, "init", None) not in (None, *entry.starts):
        raise UsageError(
            f"{_said('init', args)} is no start of --algorithm {args.algorithm}, which has "
            f"{', '.join(entry.starts)}"
        )
    defaults = estimator_of(args.algorithm)().get_params()
    for option, parameter in entry.parameters().items():
        setattr(args, option, getattr(args, option, defaults[parameter]))
    _check_given_distances(args)
    if args.checkpoint is not None and args.seed is None:
        raise UsageError(
            "--checkpoint needs --seed N: a fit that goes on must draw what it drew before"
        )


def _check_memberships(args: argparse.Namespace, entry: Algorithm) -> None:
    if not args.memberships:
        return
    if not entry.has_memberships:
        names = [name for name, other in ALGORITHMS.items() if other.has_memberships]
        raise UsageError(
            f"--memberships is an option of --algorithm {', '.join(names)}, and this is "
            f"{args.algorithm}. Leave it out, or take that algorithm"
        )
    if args.out is None:
        raise UsageError("--memberships needs --out FOLDER: a file there takes them")


def _check_given_distances(args: argparse.Namespace) -> None:
    """Refuse what would change distances that were given."""
    if args.metric == "precomputed" and args.scale != "none":
        raise UsageError(
            f"--scale {args.scale} cannot be combined with --metric precomputed: distances are "
            "taken as they are. Leave --scale out"
        )


def _not_taken(option: str, args: argparse.Namespace) -> str:
    names = takers(option)
    takes = "that algorithm" if len(names) == 1 else "one of these"
    return (
        f"{_said(option, args)} is an option of --algorithm {', '.join(names)}, and this is "
        f"{args.algorithm}. Leave it out, or take {takes}"
    )


def _said(option: str, args: argparse.Namespace) -> str:
    value = getattr(args, option)
    return f"--{option.replace('_', '-')} {'none' if value is None else value}"


def parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The estimator's parameters; where its checkpoint lies is no one's but the command's."""
    named = ALGORITHMS[args.algorithm].parameters()
    kept = {
        parameter: getattr(args, option)
        for option, parameter in named.items()
        if option not in ("seed", "checkpoint")
    }
    return {**kept, "device": args.device}


def model_for(args: argparse.Namespace) -> Any:
    """The estimator, not fitted yet."""
    model = estimator_of(args.algorithm)(**parameters(args))
    takes = ALGORITHMS[args.algorithm].takes
    if "seed" in takes:
        seed = secrets.randbelow(LARGEST_SEED + 1) if args.seed is None else args.seed
        model.set_params(random_state=seed)
    if "checkpoint" in takes:
        model.set_params(checkpoint=args.checkpoint)
    return model
