"""What goes wrong in reading and writing, told as errors that a user can mend."""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anycell.errors import AnycellError, FormatError, InputError, OutputError

__all__ = ["reading", "replacing", "writing"]

_DAMAGE = (
    ArithmeticError,
    AssertionError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # also the decoders' own errors
    SyntaxError,  # how Pillow and the XML parser speak of broken headers
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What the libraries raise on damaged bytes.  A MemoryError stays what it is."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a library raises while it reads ``path`` into a FormatError.

    Only the reading of files belongs inside, so that a bug elsewhere keeps its traceback.

    Raises
    ------
    InputError : the file may not be read by this user.
    FormatError : the file is damaged, cut off or of a variety that is not supported.
    """
    _hush("tifffile")
    try:
        yield
    except AnycellError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} may not be read", expected="a file open to you") from error
    except _DAMAGE as error:
        reason = str(error).strip() or type(error).__name__
        raise FormatError(
            f"{path} cannot be read: {reason}",
            expected="a whole, undamaged image file",
            hint="copy it anew from its source, or save it as TIFF from Fiji or QuPath",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the place of ``path`` once all went well.

    A reader never sees half a file, and nothing stays behind when writing fails.

    Raises
    ------
    OutputError : the folder is missing or closed to this user, or the disk is full.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with writing(path):
            yield draft
            draft.replace(path)
    finally:
        if _is_there(draft):
            draft.unlink()


@contextmanager
def writing(path: Path, hint: str = "another folder after -o") -> Iterator[None]:
    """Turn what the system says about a full or closed disk into an OutputError.

    Raises
    ------
    OutputError : ``path`` cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            expected="a folder that is there, open to you, with room on its disk",
            hint=hint,
        ) from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a parent that is a file or closed: nothing was written there
        return False


def _hush(name: str) -> None:
    # A logger without any handler prints its warnings to the terminal.  One that does
    # nothing stops that, while those who set up logging still see everything.
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
