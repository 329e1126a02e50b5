"""What the command line says on stderr: messages, and progress on a terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator

_FIRST_SIGHT_SECONDS = 0.5
_BAR_CELLS = 20


def say(kind: str, text: str) -> None:
    """One line on stderr."""
    print(f"kmeans-xp: {kind}: {' '.join(text.split())}", file=sys.stderr)


class Progress:
    """A line with the time spent, on a terminal only, while the block runs.

    It begins with a bar where the end is known.  Of a fit it is not: it looks at the clock, since a
    callback would cost a pass an iteration.
    """

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._what = what
        self._shown = sys.stderr.isatty() and not quiet
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self._shown:
            self._thread.start()
        return self

    def tell(self, what: str, share: float) -> None:
        """Say this from now on, after a bar of the share that is done."""
        full = round(share * _BAR_CELLS)
        self._what = f"[{'#' * full}{'-' * (_BAR_CELLS - full)}] {what}"

    def __exit__(self, *exception: object) -> None:
        if self._shown:
            self._done.set()
            self._thread.join()

    def _tick(self) -> None:
        began = time.monotonic()
        line = ""
        while not self._done.wait(_FIRST_SIGHT_SECONDS):
            before, line = line, f"{self._what}: {time.monotonic() - began:.0f} s"
            sys.stderr.write(f"\r{line:<{len(before)}}")
            sys.stderr.flush()
        if line:
            sys.stderr.write(f"\r{' ' * len(line)}\r")
            sys.stderr.flush()


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """Collect warnings and the library's log lines, each text once."""
    heard: list[str] = []
    logger = logging.getLogger("kmeans_xp")
    handler = _Collector(heard)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield heard
            finally:
                heard += [str(item.message) for item in caught]
                heard[:] = dict.fromkeys(heard)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Collector(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__()
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())


def hush_stdout() -> None:
    """Let nothing more be written to a pipe that nobody reads."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
