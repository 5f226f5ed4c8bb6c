"""Zip archives, taken apart with care: chosen members, to places chosen here.

A member's own path decides nothing but which member it is; an archive with paths that
lead elsewhere, with links, or that would swell beyond reason is refused as a whole.
Members appear whole or not at all, so that unpacking goes on where it was broken off.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from anycell.errors import FormatError, OutputError
from anycell.files.damage import replacing

__all__ = ["check_room", "list_members", "unpack"]

SWELLING = 100
"""How many times its own size an archive may become."""
SMALL = 2**30
"""Archives that become no more bytes than this may swell as they like."""

Progress = Callable[[str, int, int], None]


def list_members(archive: Path) -> list[zipfile.ZipInfo]:
    """List the files in an archive.

    Raises
    ------
    FormatError : no zip archive, a member with a path that leads out of the archive, a
        link, an encrypted member, or more than is sensible for its size.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise FormatError(
            f"{archive} is no whole zip archive: {error}",
            expected="the archive as its authors made it",
            hint=f"rm {archive}, and the same command again",
        ) from error
    for member in members:
        _refuse_odd(member, archive)
    total = sum(member.file_size for member in members)
    if total > max(SMALL, SWELLING * archive.stat().st_size):
        raise FormatError(
            f"{archive} would become {total:,} bytes from {archive.stat().st_size:,}",
            expected=f"at most {SWELLING} times as many",
        )
    return [member for member in members if not member.is_dir()]


def check_room(folder: Path, needed: int, what: str) -> None:
    """See that a disk has room.

    Raises
    ------
    OutputError : there are fewer than ``needed`` bytes free where ``folder`` is.
    """
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OutputError(
            f"{what} needs {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free",
            expected="a disk with more room",
            hint="fewer parts, as in --parts labeled,tuning, or another folder",
        )


def unpack(archive: Path, places: Mapping[str, Path], progress: Progress | None = None) -> int:
    """Write members of an archive to their places; those that are there already stay.

    Parameters
    ----------
    places : name of a member -> path to write.
    progress : called with the archive's name, bytes done and bytes in all.

    Returns
    -------
    how many were written.

    Raises
    ------
    FormatError : as :func:`list_members`, or a member is damaged.
    OutputError : something cannot be written, or the disk has no room.
    """
    members = {member.filename: member for member in list_members(archive)}
    wanted = [
        (members[name], path)
        for name, path in places.items()
        if not (path.is_file() and path.stat().st_size == members[name].file_size)
    ]
    total = sum(member.file_size for member, _ in wanted)
    if wanted:
        check_room(wanted[0][1].parent, total, f"unpacking {archive.name}")
    done = 0
    with zipfile.ZipFile(archive) as opened:
        for member, path in wanted:
            _write(opened, member, path)
            done += member.file_size
            if progress is not None:
                progress(f"unpacking {archive.name}", done, total)
    return len(wanted)


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be made: {error.strerror}") from error
    with replacing(path) as draft:
        try:
            # zipfile gives no more bytes than the member declares, and checks its CRC.
            with opened.open(member) as source, draft.open("wb") as file:
                shutil.copyfileobj(source, file, 2**20)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise FormatError(
                f"{member.filename} in {opened.filename} is damaged: {error}",
                expected="the archive as its authors made it",
                hint=f"rm {opened.filename}, and the same command again",
            ) from error


def _refuse_odd(member: zipfile.ZipInfo, archive: Path) -> None:
    name = member.orig_filename
    path = PurePosixPath(name.replace("\\", "/"))
    reason = ""
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        reason = "a path that leads out of the archive"
    elif stat.S_ISLNK(member.external_attr >> 16):
        reason = "a link"
    elif member.flag_bits & 1:
        reason = "an encrypted member"
    if reason:
        raise FormatError(
            f"{archive} holds {reason}: {name!r}", expected="images and labels in folders"
        )
