import hashlib
import re
from pathlib import Path

import pytest

from distill_client import ApiError, ChecksumMismatch, Client, FilesInTheWay, ServerUnreachable, UnsafePath
from distill_client.download import Download, below
from tests.distill_client.scripted import Answer, Asked, Script, Scripted

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()


def serving(body: bytes, cuts: list[int]) -> Script:
    """A file server with ranges and If-Range whose connection breaks after `cuts` bytes, once for each."""
    etag = f'"{hashlib.sha256(body).hexdigest()}"'

    def answer(asked: Asked) -> Answer:
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        cut = cuts.pop(0) if cuts else None
        if wanted is None or asked.headers.get("if-range") != etag:
            return Answer(200, body, {"ETag": etag}, cut)
        start = int(wanted[1])
        if start >= len(body):
            return Answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        headers = {"ETag": etag, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        return Answer(206, body[start:], headers, cut)

    return answer


def test_a_cut_download_goes_on_where_it_was_cut(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = serving(BODY, [1000, 2000])
    file = Download(client.transport, "/file", tmp_path / "file", SHA256).run()
    assert file.read_bytes() == BODY
    assert [asked.headers.get("range") for asked in scripted.asked] == [None, "bytes=1000-", "bytes=3000-"]
    assert list(tmp_path.iterdir()) == [file]


def test_a_later_call_goes_on_too(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY[:5000])
    scripted.script = serving(BODY, [])
    assert Download(client.transport, "/file", tmp_path / "file", SHA256).run().read_bytes() == BODY
    assert scripted.asked[0].headers["range"] == "bytes=5000-"


def test_many_cuts_cost_nothing_while_bytes_arrive(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = serving(BODY, [500] * 20)
    assert Download(client.transport, "/file", tmp_path / "file", SHA256).run().read_bytes() == BODY


def test_cuts_without_a_byte_end_it_and_keep_what_is_there(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = serving(BODY, [700] + [0] * 100)
    with pytest.raises(ServerUnreachable):
        Download(client.transport, "/file", tmp_path / "file", SHA256).run()
    assert (tmp_path / "file.part").read_bytes() == BODY[:700]
    assert not (tmp_path / "file").exists()


def test_wrong_bytes_are_thrown_away(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = serving(BODY[:-1] + b"!", [])
    with pytest.raises(ChecksumMismatch) as raised:
        Download(client.transport, "/file", tmp_path / "file", SHA256).run()
    assert raised.value.expected_sha256 == SHA256
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_version_is_fetched_anew(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"old" * 100)
    scripted.script = serving(BODY, [])
    changed = hashlib.sha256(BODY).hexdigest()
    # The part is of other content: the hash of the whole tells, and the next call begins anew.
    with pytest.raises(ChecksumMismatch):
        Download(client.transport, "/file", tmp_path / "file", changed).run()
    assert Download(client.transport, "/file", tmp_path / "file", changed).run().read_bytes() == BODY


def test_if_range_makes_a_changed_file_come_whole(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(BODY[:100])
    scripted.script = lambda asked: Answer(200, BODY, {"ETag": '"other"'})
    assert Download(client.transport, "/file", tmp_path / "file", SHA256).run().read_bytes() == BODY


@pytest.mark.parametrize("part", [BODY, BODY + b"too long", b"x" * len(BODY)])
def test_a_part_as_long_as_the_file_is_judged_by_its_hash(
    client: Client, scripted: Scripted, tmp_path: Path, part: bytes
) -> None:
    (tmp_path / "file.part").write_bytes(part)
    scripted.script = serving(BODY, [])
    assert Download(client.transport, "/file", tmp_path / "file", SHA256).run().read_bytes() == BODY


def test_a_file_that_is_there_is_not_fetched_again(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    Download(client.transport, "/file", tmp_path / "file", SHA256).run()
    assert scripted.asked == []


def test_a_file_without_a_hash_begins_anew_after_a_cut(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    scripted.script = serving(BODY, [1000] * 100)
    with pytest.raises(ServerUnreachable):
        Download(client.transport, "/file", tmp_path / "file").run()
    scripted.script = serving(BODY, [1000])
    assert Download(client.transport, "/file", tmp_path / "file").run().read_bytes() == BODY
    assert all("range" not in asked.headers for asked in scripted.asked)


def test_a_folder_of_that_name_is_not_a_file_to_replace(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(FilesInTheWay, match=f"{tmp_path} has other files of the same names: file/"):
        Download(client.transport, "/file", tmp_path / "file", SHA256).run()
    assert not scripted.asked


def test_progress_is_told_up_to_the_whole(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    scripted.script = serving(BODY, [4000])
    Download(client.transport, "/file", tmp_path / "file", SHA256, lambda done, total: told.append((done, total))).run()
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_missing_file_is_an_api_error(client: Client, scripted: Scripted, tmp_path: Path) -> None:
    with pytest.raises(ApiError):
        Download(client.transport, "/file", tmp_path / "file", SHA256).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "..", "", "a\\..\\x", "C:/x"])
def test_a_server_cannot_write_outside_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnsafePath):
        below(tmp_path, path)


def test_a_path_inside_stays_as_it_is(tmp_path: Path) -> None:
    assert below(tmp_path, "teacher/config.json") == tmp_path / "teacher" / "config.json"
