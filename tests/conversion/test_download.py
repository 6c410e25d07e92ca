"""Downloads against a real HTTP server on this machine: cut, resumed, restarted, refused."""

import hashlib
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jukebox_hf.app import cli
from jukebox_hf.conversion.download import download, mark_as_ours, remove_downloads
from jukebox_hf.conversion.repository import sha256_of

CONTENT = bytes(range(256)) * 20_000  # 5 MB, more than one block


class _Server(ThreadingHTTPServer):
    """Serves `content`; `cuts` says after how many bytes each of the first answers breaks off."""

    def __init__(self):
        self.content, self.etag, self.cuts, self.ranges, self.conditions = CONTENT, None, [], [], []
        self.knows_ranges, self.knows_conditions, self.status, self.shift = True, True, 200, 0
        self.length = "announced"
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/model.pth.tar"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, size = self.server, len(self.server.content)
        server.ranges.append(self.headers.get("Range"))
        server.conditions.append(self.headers.get("If-Range"))
        self.close_connection = True
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        fits = not server.knows_conditions or self.headers.get("If-Range") in (None, server.etag)
        if server.knows_ranges and self.headers.get("Range") and fits:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= size:
                self._begin(416, f"bytes */{size}", 0)
                return
            start += server.shift  # a server that answers something else than it was asked
        self._begin(206 if start else 200, f"bytes {start}-{size - 1}/{size}" if start else None, size - start)
        body = server.content[start:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        self.wfile.write(body if server.length != "chunked" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))

    def _begin(self, status, content_range, length):
        self.send_response(status)
        headers = {"ETag": self.server.etag, "Content-Range": content_range}
        headers |= {"announced": {"Content-Length": length}, "chunked": {"Transfer-Encoding": "chunked"}}.get(
            self.server.length, {}
        )
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with _Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def test_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [len(CONTENT) // 2]
    file = download(server.url, tmp_path / "model.pth.tar", pause_seconds=0)
    assert file.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT) // 2}-"], "the second half alone was asked for again"
    assert sha256_of(file) == hashlib.sha256(CONTENT).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth.tar"]


def test_download_goes_on_in_another_run_after_giving_up(server, tmp_path):
    server.cuts = [1_000_000, 0]
    with pytest.raises(ValueError, match=r"1,000,000 bytes are kept in .*model\.pth\.tar\.part, run the same command"):
        download(server.url, tmp_path / "model.pth.tar", attempts=1, pause_seconds=0)
    assert not (tmp_path / "model.pth.tar").exists()
    assert download(server.url, tmp_path / "model.pth.tar", pause_seconds=0).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=1000000-"


def test_server_without_ranges_is_read_again_from_the_start(server, tmp_path):
    server.knows_ranges, server.cuts = False, [3_000_000]
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT


def test_part_that_is_whole_already_is_taken(server, tmp_path):
    (tmp_path / "m.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT


def test_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "m.part").write_bytes(CONTENT + b"more")
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


OTHER = CONTENT[::-1]  # as long, so that only its ETag tells it from the first


def _half_of_another_file(server, tmp_path):
    """Break off in the middle of OTHER; then the server has CONTENT."""
    server.content, server.etag, server.cuts = OTHER, '"other"', [len(OTHER) // 2]
    with pytest.raises(ValueError, match=r"bytes are kept"):
        download(server.url, tmp_path / "m", attempts=0, pause_seconds=0)
    server.content, server.etag, server.ranges, server.conditions = CONTENT, '"content"', [], []


def test_file_that_changed_meanwhile_is_read_again_from_its_start(server, tmp_path):
    _half_of_another_file(server, tmp_path)
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT
    assert server.conditions == ['"other"'], "the server was asked for the rest of the same file only"
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "the note of the ETag is gone too"


def test_changed_file_is_noticed_where_the_server_knows_no_conditions(server, tmp_path):
    server.knows_conditions = False
    _half_of_another_file(server, tmp_path)
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(OTHER) // 2}-", None]


def test_whole_part_of_another_file_is_not_taken(server, tmp_path):
    server.knows_conditions, server.etag = False, '"content"'
    (tmp_path / "m.part").write_bytes(OTHER)
    (tmp_path / "m.part.etag").write_text('"other"')
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT


def test_weak_etag_is_compared_but_never_a_condition(server, tmp_path):
    server.etag, server.cuts = 'W/"x"', [1_000_000]
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT
    assert (server.ranges, server.conditions) == ([None, "bytes=1000000-"], [None, None])


def test_answer_that_begins_elsewhere_than_asked_is_not_appended(server, tmp_path):
    server.cuts, server.shift = [1_000_000], 7
    assert download(server.url, tmp_path / "m", pause_seconds=0).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", None]


def test_answer_without_a_length_is_read_to_its_marked_end(server, tmp_path):
    server.length, told = "chunked", []
    file = download(
        server.url, tmp_path / "m", pause_seconds=0, progress=lambda done, total: told.append((done, total))
    )
    assert file.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_answer_whose_end_nothing_marks_is_refused(server, tmp_path):
    server.length = "unknown"
    with pytest.raises(ValueError, match="does not say how long the file is"):
        download(server.url, tmp_path / "m", pause_seconds=0)
    assert not (tmp_path / "m").exists()


def test_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "m").write_bytes(b"here")
    assert download(server.url, tmp_path / "m").read_bytes() == b"here"
    assert server.ranges == []


def test_only_what_was_fetched_is_removed_again(server, tmp_path):
    folder = tmp_path / "repo.download"
    folder.mkdir()
    (folder / "own").write_bytes(b"put there by hand")
    (folder / "notes.txt").write_text("mine")
    for name in ("own", "fetched"):
        mark_as_ours(folder / name)
    files = [download(server.url, folder / name) for name in ("own", "fetched")]
    remove_downloads(files)
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "own"]
    for path in list(folder.iterdir()):
        path.unlink()
    mark_as_ours(folder / "fetched")
    remove_downloads([download(server.url, folder / "fetched")])
    assert not folder.exists()


def test_missing_file_is_refused_at_once(server, tmp_path):
    server.status = 404
    with pytest.raises(ValueError, match="answers 404"):
        download(server.url, tmp_path / "m", pause_seconds=0)
    assert len(server.ranges) == 1


def test_server_in_trouble_is_asked_again_and_then_left(server, tmp_path):
    server.status = 503
    with pytest.raises(ValueError, match="503"):
        download(server.url, tmp_path / "m", attempts=3, pause_seconds=0)
    assert len(server.ranges) == 3


def test_progress_tells_how_much_of_how_much(server, tmp_path):
    told = []
    download(server.url, tmp_path / "m", progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_command_draws_one_bar_per_file(monkeypatch):
    drawn = []

    class Bar:
        n = 0

        def __init__(self, total, desc, **_):
            drawn.append((desc, total))

        def update(self, more):
            self.n += more

        def close(self):
            drawn.append(self.n)

    monkeypatch.setattr(cli, "tqdm", Bar)
    with cli._DownloadBars() as bars:
        for done in (10, 500, 1000):
            bars.show("vqvae", done, 1000)
    assert drawn == [("vqvae", 1000), 1000]


def test_download_larger_than_the_disk_is_refused_before_it_is_written(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(ValueError, match=r"1,000,000 bytes free, but .* are needed"):
        download(server.url, tmp_path / "model.pth.tar", pause_seconds=0)
    assert not (tmp_path / "model.pth.tar.part").exists()


def test_download_without_an_end_is_stopped(server, tmp_path, monkeypatch):
    server.length = "chunked"
    monkeypatch.setattr("jukebox_hf.conversion.download._MOST_UNSAID", 2**21)
    with pytest.raises(ValueError, match="more than the 2,097,152 bytes"):
        download(server.url, tmp_path / "model.pth.tar", pause_seconds=0)
    assert not (tmp_path / "model.pth.tar").exists()
