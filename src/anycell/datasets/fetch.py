"""Downloads of large files: resumed where they broke off, checked when they are whole.

    NAME.part  grows while bytes arrive, and is gone on with by HTTP Range
    NAME       appears when size and checksum are those of the record, not before

A server that knows no Range sends the file from its beginning, and so it is taken.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import Request, urlopen

from anycell.errors import FormatError, InputError, OutputError

__all__ = ["Patience", "Progress", "Record", "Remote", "fetch", "is_whole", "read_record"]

Progress = Callable[[str, int, int], None]
"""Called with a file's name, its bytes so far, and its bytes in all."""

CHUNK = 2**20
ASKED = 3
"""Times to ask for a record: nothing is lost yet, and a wrong address should show soon."""
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same question may be asked again."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch: its name, bytes, checksum (``md5`` and digits), and address."""

    name: str
    size: int
    algorithm: str
    digest: str
    url: str


@dataclass(frozen=True)
class Record:
    """What a record of Zenodo says: title, licence, and files by name."""

    title: str
    license: str
    files: dict[str, Remote]


@dataclass(frozen=True)
class Patience:
    """What to do about dropped connections and busy servers.

    Attributes
    ----------
    attempts : in a row without a new byte, before giving up.
    first, longest : seconds to wait after the first failure, doubled after each further
        one, and the most.
    timeout : seconds of silence after which a connection counts as dropped.
    wait : called with the seconds to wait.
    """

    attempts: int = 8
    first: float = 1.0
    longest: float = 120.0
    timeout: float = 60.0
    wait: Callable[[float], None] = time.sleep


PATIENT = Patience()


def read_record(api: str, number: int, patience: Patience = PATIENT) -> Record:
    """Read what Zenodo knows of a record (``GET {api}/records/{number}``, JSON).

    Parameters
    ----------
    api : such as ``https://zenodo.org/api``; a mirror may give relative links.

    Raises
    ------
    InputError : nobody answers, or there is no such record.
    FormatError : the answer is not a record of Zenodo.
    """
    address = f"{api.rstrip('/')}/records/{number}"
    text = _ask(address, replace(patience, attempts=min(patience.attempts, ASKED)))
    try:
        return _as_record(json.loads(text), address)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{address} does not answer as Zenodo does: {type(error).__name__}: {error}",
            expected='JSON with "files", each with key, size, checksum and links.self',
            hint="another address after --url",
        ) from error


def fetch(
    remote: Remote,
    path: Path,
    progress: Progress | None = None,
    patience: Patience = PATIENT,
) -> None:
    """Bring a file to ``path``, going on with ``path.part`` if that is there.

    Nothing is done when the file is there already, whole by size and checksum.

    Raises
    ------
    InputError : the server refuses, or gave no new byte for ``patience.attempts`` attempts.
    FormatError : twice the bytes were not those of the checksum; they are thrown away.
    OutputError : it cannot be written.
    """
    if is_whole(remote, path, progress):
        return
    part = path.with_name(path.name + ".part")
    with _writing(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    found = ""
    for _ in range(2):  # a part of another version is found out only at the end
        _fill(remote, part, progress, patience)
        found = _digest(remote, part, progress)
        if found == remote.digest:
            part.replace(path)
            return
        part.unlink()
    raise FormatError(
        f"{remote.url} gave bytes of the {remote.algorithm} {found}, twice",
        expected=f"{remote.algorithm} {remote.digest}, as the record says",
        hint="try again later, or another address after --url",
    )


def is_whole(remote: Remote, path: Path, progress: Progress | None = None) -> bool:
    """Tell whether a file is there, of the right size and checksum."""
    return (
        path.is_file()
        and path.stat().st_size == remote.size
        and _digest(remote, path, progress) == remote.digest
    )


def _ask(address: str, patience: Patience) -> bytes:
    """Get a short answer, in a few attempts."""
    failures = 0
    while True:
        try:
            with _open(address, 0, patience) as answer:
                return answer.read()
        except (HTTPException, OSError) as error:
            _lasting(error, address)
            failures += 1
            if failures >= patience.attempts:
                raise _unreachable(address, error, patience) from error
            patience.wait(_pause(error, failures, patience))


def _fill(remote: Remote, part: Path, progress: Progress | None, patience: Patience) -> None:
    """Grow the part until it has all bytes.  New bytes beyond all before count as progress."""
    furthest, failures = 0, 0
    while (have := _size(part)) != remote.size:
        if have > remote.size:
            part.unlink()
            have = 0
        error: Exception | None = None
        try:
            _receive(remote, part, have, progress, patience)
        except (HTTPException, OSError) as dropped:
            if isinstance(dropped, _Answered) and dropped.code == 416:
                part.unlink(missing_ok=True)  # what is here is not the beginning of that file
            else:
                _lasting(dropped, remote.url)
            error = dropped
        now = _size(part)
        if now == remote.size:
            return
        failures = 0 if remote.size > now > furthest else failures + 1
        furthest = max(furthest, min(now, remote.size))
        if failures >= patience.attempts:
            raise _unreachable(remote.url, error, patience, f" at {now:,} of {remote.size:,} bytes")
        patience.wait(_pause(error, failures, patience))


def _receive(
    remote: Remote, part: Path, have: int, progress: Progress | None, patience: Patience
) -> None:
    """Take what one connection gives, from byte ``have`` on if the server can."""
    tell = progress or _tell_nobody
    with _open(remote.url, have, patience) as answer:
        if have and answer.status == 206 and not _goes_on(answer, have):
            part.unlink()  # the next attempt asks for the whole file
            raise _Dropped(f"bytes from {have} on were asked for, others came")
        have = have if answer.status == 206 else 0
        with _writing(part), part.open("ab" if have else "wb") as file:
            while have <= remote.size and (chunk := _read(answer)):
                file.write(chunk)
                have += len(chunk)
                tell(remote.name, min(have, remote.size), remote.size)


class _Dropped(HTTPException):
    """A connection that broke while it gave bytes, or gave others than were asked for."""


class _Answered(HTTPException):
    """An answer that is no success: its code and reason, and when to come again."""

    def __init__(self, code: int, reason: str, again: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.again = again


def _read(answer: HTTPResponse) -> bytes:
    try:
        return answer.read(CHUNK)
    except OSError as error:
        raise _Dropped(str(error)) from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into an OutputError; inside, only the disk raises OSError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}",
            expected="a folder open to you, with room on its disk",
            hint="the same command again goes on where it stopped",
        ) from error


def _goes_on(answer: HTTPResponse, have: int) -> bool:
    """Tell whether a partial answer begins at byte ``have``."""
    told = str(answer.headers.get("Content-Range", ""))
    return told.startswith(f"bytes {have}-")


def _open(url: str, begin: int, patience: Patience) -> HTTPResponse:
    from anycell import __version__

    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"the address {url}", expected="one that begins with https://")
    heads = {"User-Agent": f"anycell/{__version__}", "Accept-Encoding": "identity"}
    if begin:
        heads["Range"] = f"bytes={begin}-"
    try:
        answer: HTTPResponse = urlopen(Request(url, headers=heads), timeout=patience.timeout)
    except HTTPError as error:
        with error:
            again = error.headers.get("Retry-After") or ""
            raise _Answered(error.code, str(error.reason), again) from None
    return answer


def _lasting(error: Exception, url: str) -> None:
    """Raise at once what no further attempt would change."""
    if isinstance(error, _Answered) and error.code not in PASSING:
        raise InputError(
            f"{url} answers {error}",
            expected="200 OK",
            hint="another address after --url, or archives that you have, with --offline",
        ) from error


def _unreachable(
    url: str, error: Exception | None, patience: Patience, where: str = ""
) -> InputError:
    reason = getattr(error, "reason", error) if error is not None else "the connection ended"
    return InputError(
        f"{url} gave nothing new in {patience.attempts} attempts{where}: {reason}",
        expected="a connection to that server",
        hint="the same command again later goes on where it stopped",
    )


def _pause(error: Exception | None, failures: int, patience: Patience) -> float:
    """Seconds to wait: as the server asks, else doubling."""
    asked = error.again if isinstance(error, _Answered) else ""
    doubled = patience.first * 2.0 ** max(0, failures - 1)
    return min(float(asked) if asked.isdecimal() else doubled, patience.longest)


def _as_record(found: Any, address: str) -> Record:
    files = {}
    for entry in found["files"]:
        algorithm, _, digest = entry["checksum"].partition(":")
        if algorithm not in hashlib.algorithms_guaranteed or not digest:
            raise ValueError(f"checksum {entry['checksum']!r}")
        url = urljoin(address, entry["links"]["self"])
        name = str(entry["key"])
        files[name] = Remote(name, int(entry["size"]), algorithm, digest.lower(), url)
    about = found.get("metadata", {})
    license_of = about.get("license") or {}
    return Record(str(about.get("title", "")), str(license_of.get("id", "")), files)


def _tell_nobody(name: str, done: int, total: int) -> None:
    """Progress that nobody wants to see."""


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _digest(remote: Remote, path: Path, progress: Progress | None) -> str:
    """The checksum of a file; MD5 is what Zenodo gives, against damage, not against enemies."""
    found = hashlib.new(remote.algorithm, usedforsecurity=False)
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(f"checking {remote.name}", done, remote.size)
    return found.hexdigest()
