"""The command ``kmeans-xp``, built on the public names of the library."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence

from ._cli._arguments import make_parser
from ._cli._check import check
from ._cli._common import BAD_DATA, BAD_USAGE, FAILED, INTERRUPTED, NO_DEVICE, OK
from ._cli._console import hush_stdout, say
from ._cli._elbow import elbow
from ._cli._fit import fit
from ._cli._plot import plot
from ._cli._predict import predict
from ._files import DataError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    from . import DeviceError

    if isinstance(sys.stdout, io.TextIOWrapper):
        # column names are the user's own, and the terminal may not know their letters
        sys.stdout.reconfigure(errors="backslashreplace")
    args = make_parser().parse_args(argv)
    try:
        code = _COMMANDS[args.command](args)
        sys.stdout.flush()
    except UsageError as error:
        return _fail(error, BAD_USAGE)
    except DataError as error:
        return _fail(error, BAD_DATA)
    except DeviceError as error:
        return _fail(error, NO_DEVICE)
    except BrokenPipeError:
        hush_stdout()
        return OK
    except OSError as error:
        return _fail(f"cannot write {error.filename or 'the output'}: {error.strerror}", FAILED)
    except MemoryError as error:
        return _fail(f"not enough memory: {error}. Use fewer columns or float32 data", FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted before the results were complete", INTERRUPTED)
    return code


def _fail(error: object, code: int) -> int:
    say("error", str(error))
    return code


def _info(args: argparse.Namespace) -> int:
    from . import info
    from ._cli._report import info_text

    facts = info()
    print(json.dumps(facts, indent=2) if args.json else info_text(facts))
    return OK


_COMMANDS = {
    "check": check,
    "elbow": elbow,
    "fit": fit,
    "predict": predict,
    "plot": plot,
    "info": _info,
}
