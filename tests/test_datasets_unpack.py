"""Archives are taken apart with care, and what is in them is found wherever it is."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from anycell.datasets.neurips2022 import placed
from anycell.datasets.unpack import list_members, unpack
from anycell.errors import FormatError
from packed import archive, archives, image


def test_unpacking_goes_on_and_heals_what_is_short(tmp_path: Path) -> None:
    path = tmp_path / "Tuning.zip"
    path.write_bytes(archives()["Tuning.zip"])
    places = placed(path, "tuning", tmp_path)
    assert unpack(path, places) == 2
    picture = tmp_path / "tuning" / "images" / "cell_00001.png"
    kept = tmp_path / "tuning" / "labels" / "cell_00001_label.tiff"
    picture.write_bytes(b"short")
    age = kept.stat().st_mtime_ns
    assert unpack(path, places) == 1
    assert picture.read_bytes() == image()
    assert kept.stat().st_mtime_ns == age


@pytest.mark.parametrize(
    "name", ["/etc/images/a.png", "../images/a.png", "x/../../a.png", "C:\\a.png", "..\\a.png"]
)
def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive({name: image(), "images/b.png": image()}))
    with pytest.raises(FormatError, match="leads out of the archive"):
        list_members(path)


def test_links_secrets_and_damage_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as opened:
        link = zipfile.ZipInfo("images/a.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(FormatError, match="a link"):
        list_members(path)
    locked = bytearray(archive({"images/a.png": image()}))
    locked[6] |= 1
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(locked)
    with pytest.raises(FormatError, match="encrypted"):
        list_members(path)
    path.write_bytes(archive({"images/a.png": image()})[:-30])
    with pytest.raises(FormatError, match="no whole zip"):
        list_members(path)


def test_a_member_of_other_bytes_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("images/a.png", image())
    data = bytearray(stream.getvalue())
    data[80] ^= 255
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(FormatError, match="is damaged"):
        unpack(path, {"images/a.png": tmp_path / "images" / "a.png"})
    assert list((tmp_path / "images").iterdir()) == []


def test_archives_that_swell_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycell.datasets.unpack.SMALL", 10_000)
    path = tmp_path / "a.zip"
    path.write_bytes(archive({"images/a.png": bytes(10_000_000)}))
    with pytest.raises(FormatError, match="would become 10,000,000 bytes"):
        list_members(path)


@pytest.mark.parametrize(
    ("part", "members", "words"),
    [
        ("labeled", {"data/a.png": b"", "data/notes.txt": b""}, "2 files in data"),
        ("labeled", {"images/a.png": b""}, "1 files in images"),
        ("slides", {"x/notes.txt": b""}, "1 files in x"),
        ("labeled", {}, "no folder"),
        (
            "tuning",
            {"images/a.png": b"", "labels/a_label.tiff": b"", "Tuning/images/a.png": b"",
             "Tuning/labels/b_label.tiff": b""},
            "two files of one name",
        ),
    ],
)  # fmt: skip
def test_archives_without_data_say_what_they_hold(
    tmp_path: Path, part: str, members: dict[str, bytes], words: str
) -> None:
    path = tmp_path / "Tuning.zip"
    path.write_bytes(archive(members))
    with pytest.raises(FormatError, match=words):
        placed(path, part, tmp_path)


@pytest.mark.parametrize(
    ("member", "place"),
    [
        ("images/cell_7.png", "labeled/cells_0001_0100/images/cell_7.png"),
        ("A/B/Images/cell_00200.PNG", "labeled/a_b/cells_0101_0200/images/cell_00200.PNG"),
        ("images/cell.png", "labeled/other/images/cell.png"),
    ],
)
def test_folders_are_found_wherever_they_are(tmp_path: Path, member: str, place: str) -> None:
    beside = member.replace("images", "labels").replace("Images", "labels")
    path = tmp_path / "packed.zip"
    path.write_bytes(archive({member: b"", f"{beside}_label.tiff": b""}))
    assert placed(path, "labeled", tmp_path)[member] == tmp_path / place
