"""Checkpoints on disk: a checksum, then an npz archive without pickles of arrays and JSON.

A file is written beside the one before and takes its name when it is complete and on the disk, so
that one of the two is always whole.  Any other byte, and any missing one, changes the checksum.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import os
import pathlib
from typing import Any

import numpy as np
import numpy.typing as npt

from . import __version__
from .exceptions import CheckpointError

_MAGIC = b"kmeans-xp checkpoint 1\n"  # the format's number
_CHECKSUM = 32  # bytes of SHA-256

Arrays = dict[str, npt.NDArray[Any]]


def write_checkpoint(path: pathlib.Path, header: dict[str, Any], arrays: Arrays) -> None:
    """Replace the file, or leave it as it is and raise an `OSError` that says so."""
    text = np.asarray(json.dumps({"library": __version__, **header}))
    buffer = io.BytesIO()
    np.savez(buffer, header=text, **arrays)  # type: ignore[arg-type]
    content = buffer.getbuffer()
    temporary = _temporary(path, str(os.getpid()))
    try:
        with open(temporary, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(content).digest())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            error.errno,
            f"a checkpoint could not be written ({error.strerror}). One that was there is kept as "
            "it was: the fit goes on from it when there is room and permission to write",
            str(path),
        ) from error
    finally:
        # a folder that is none was told of above
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_checkpoint(path: pathlib.Path) -> tuple[dict[str, Any], Arrays] | None:
    """What was written; None where there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    start = len(_MAGIC) + _CHECKSUM
    if not (content.startswith(_MAGIC) or _MAGIC.startswith(content)):
        raise CheckpointError(
            f"{path} is not a checkpoint of this version of kmeans-xp, and is not written over. "
            "Name another file"
        )
    if content[len(_MAGIC) : start] != hashlib.sha256(content[start:]).digest():
        raise CheckpointError(
            f"{path} is damaged: it was cut short or altered after it was written. Bring back a "
            "copy, or delete it to begin anew"
        )
    with np.load(io.BytesIO(content[start:]), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays.pop("header")))
    if header["library"] != __version__:
        raise CheckpointError(
            f"{path} was written by kmeans-xp {header['library']}, and this is {__version__}: "
            "its numbers may differ. Go on with that version, or delete it to begin anew"
        )
    return header, arrays


def remove_leftovers(path: pathlib.Path) -> None:
    """Delete what a killed process had begun to write."""
    pattern = _temporary(pathlib.Path(glob.escape(str(path))), "*")
    for name in glob.glob(str(pattern)):
        os.unlink(name)


def _temporary(path: pathlib.Path, process: str) -> pathlib.Path:
    return path.with_name(f".{path.name}.{process}.tmp")


def _sync_folder(folder: pathlib.Path) -> None:
    """Bring the new name to the disk, where the system can do that."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        # some file systems refuse
        with contextlib.suppress(OSError):
            os.fsync(number)
    finally:
        os.close(number)
