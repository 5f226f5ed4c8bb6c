"""Downloads from a server that drops, lies, refuses, and forgets what Range means."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anycell.datasets.fetch import Patience, Remote, _Answered, _pause, fetch, read_record
from anycell.errors import FormatError, InputError, OutputError
from server import Server, serving

DATA = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server({"a.zip": DATA})) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience(attempts=4, first=1.0, longest=10.0, timeout=10.0, wait=waits.append)


def remote(server: Server, patience: Patience) -> Remote:
    return read_record(server.address, 10719375, patience).files["a.zip"]


def test_a_record_says_names_sizes_checksums_and_licence(server: Server) -> None:
    record = read_record(server.address + "/", 10719375)
    assert record.title == "Cells"
    assert record.license == "cc-by-nc-nd-4.0"
    (found,) = record.files.values()
    assert (found.name, found.size, found.algorithm) == ("a.zip", len(DATA), "md5")
    assert found.digest == hashlib.md5(DATA).hexdigest()
    assert found.url == f"{server.address}/records/10719375/files/a.zip/content"


def test_a_file_arrives_whole_and_only_then_under_its_name(
    server: Server, patience: Patience, waits: list[float], tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(name: str, done: int, total: int) -> None:
        seen.append((name, done, total))
        assert not path.exists()

    path = tmp_path / "new" / "a.zip"
    fetch(remote(server, patience), path, progress, patience)
    assert path.read_bytes() == DATA
    assert [v.name for v in path.parent.iterdir()] == ["a.zip"]
    assert [v for v in seen if v[0] == "a.zip"][-1] == ("a.zip", len(DATA), len(DATA))
    assert waits == []
    fetch(remote(server, patience), path, None, patience)
    assert server.asked == [None]


def test_dropped_connections_are_gone_on_with(
    server: Server, patience: Patience, waits: list[float], tmp_path: Path
) -> None:
    server.drop = 70_000
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    begins = [None, *(f"bytes={k * 70_000}-" for k in range(1, 5))]
    assert server.asked == begins
    assert waits == [1.0] * 4


def test_a_part_of_an_earlier_run_is_gone_on_with(
    server: Server, patience: Patience, tmp_path: Path
) -> None:
    (tmp_path / "a.zip.part").write_bytes(DATA[:299_000])
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.asked == ["bytes=299000-"]


@pytest.mark.parametrize("shift", [0, -7])
def test_a_server_without_range_is_taken_from_the_beginning(
    server: Server, patience: Patience, tmp_path: Path, shift: int
) -> None:
    """Whether it gives the whole file, or another range than was asked for."""
    server.ranges, server.shift = shift != 0, shift
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.asked == ["bytes=1000-", None][: 1 + (shift != 0)]


def test_without_range_and_always_dropped_it_ends(
    server: Server, patience: Patience, waits: list[float], tmp_path: Path
) -> None:
    server.ranges, server.drop = False, 50_000
    with pytest.raises(InputError, match=r"nothing new in 4 attempts at 50,000 of 300,000"):
        fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert waits == [1.0, 1.0, 2.0, 4.0]
    assert [v.name for v in tmp_path.iterdir()] == ["a.zip.part"]


def test_wrong_bytes_are_thrown_away_once(
    server: Server, patience: Patience, tmp_path: Path
) -> None:
    server.wrong = 1
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.asked == [None, None]


def test_a_damaged_part_does_not_spoil_the_file(
    server: Server, patience: Patience, tmp_path: Path
) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"\0" * 200_000)
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.asked == ["bytes=200000-", None]


def test_bytes_that_stay_wrong_are_an_error_and_stay_away(
    server: Server, patience: Patience, tmp_path: Path
) -> None:
    server.wrong = 99
    with pytest.raises(FormatError) as error:
        fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert hashlib.md5(DATA).hexdigest() in error.value.expected
    assert "twice" in error.value.found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("have", [300_000, 300_500])
def test_a_part_that_is_full_or_too_long(
    server: Server, patience: Patience, tmp_path: Path, have: int
) -> None:
    (tmp_path / "a.zip.part").write_bytes((DATA + b"y" * 500)[:have])
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.asked == ([] if have == len(DATA) else [None])


def test_a_range_that_the_server_does_not_have_starts_anew(
    server: Server, patience: Patience, tmp_path: Path
) -> None:
    server.answers = [416]
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert server.asked == ["bytes=1000-", None]


def test_more_bytes_than_the_record_says_are_refused(
    server: Server, patience: Patience, tmp_path: Path
) -> None:
    server.extra = 10
    with pytest.raises(InputError, match="nothing new in 4 attempts"):
        fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert not (tmp_path / "a.zip").exists()


def test_busy_servers_are_asked_again_and_refusals_are_not(
    server: Server, patience: Patience, waits: list[float], tmp_path: Path
) -> None:
    server.answers = [500, 503, 429]
    fetch(remote(server, patience), tmp_path / "a.zip", None, patience)
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert waits == [1.0, 2.0, 4.0]
    server.answers = [404]
    with pytest.raises(InputError, match="answers 404"):
        fetch(remote(server, patience), tmp_path / "b.zip", None, patience)
    assert len(waits) == 3
    server.answers = [500] * 9
    with pytest.raises(InputError, match="nothing new in 4 attempts"):
        fetch(remote(server, patience), tmp_path / "b.zip", None, patience)


def test_records_too(server: Server, patience: Patience, waits: list[float]) -> None:
    server.record_answers = [502, 200]
    assert read_record(server.address, 10719375, patience).title == "Cells"
    assert waits == [1.0]
    server.record_answers = [502] * 9
    with pytest.raises(InputError, match="nothing new in 3 attempts"):
        read_record(server.address, 10719375, patience)
    server.record_answers = [404]
    with pytest.raises(InputError, match="answers 404"):
        read_record(server.address, 10719375, patience)


@pytest.mark.parametrize(
    "record",
    [
        {"files": [{"key": "a.zip"}]},
        {"files": {"enabled": True}},
        ["a list"],
        {"files": [{"key": "a", "size": 1, "checksum": "none", "links": {"self": "x"}}]},
    ],
)
def test_what_is_no_record_is_refused(server: Server, record: object) -> None:
    server.record = record
    with pytest.raises(FormatError, match="does not answer as Zenodo does"):
        read_record(server.address, 10719375)


def test_nobody_there_and_addresses_that_are_no_web(patience: Patience, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing new in 3 attempts"):
        read_record("http://127.0.0.1:9/api", 10719375, patience)
    with pytest.raises(InputError, match="file:///etc"):
        read_record("file:///etc", 10719375, patience)
    local = Remote("a", 5, "md5", "0" * 32, f"file://{tmp_path}/secret")
    with pytest.raises(InputError, match="file://"):
        fetch(local, tmp_path / "a", None, patience)


def test_a_place_that_cannot_be_written(server: Server, patience: Patience, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"a\.zip\.part cannot be written"):
        fetch(remote(server, patience), tmp_path / "file" / "a.zip", None, patience)


def test_waits_double_up_to_the_longest_and_obey_the_server(waits: list[float]) -> None:
    patience = replace(Patience(), first=1.0, longest=5.0)
    assert [_pause(None, k, patience) for k in range(6)] == [1, 1, 2, 4, 5, 5]
    assert _pause(_Answered(429, "busy", "3"), 9, patience) == 3.0
    assert _pause(_Answered(429, "busy", "99"), 9, patience) == 5.0
    assert _pause(_Answered(429, "busy", "tomorrow"), 2, patience) == 2.0
