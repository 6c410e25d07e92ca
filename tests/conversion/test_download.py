"""Downloads against a real HTTP server on this machine: cut, resumed, restarted, refused."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jukebox_hf.app import cli
from jukebox_hf.conversion.download import download
from jukebox_hf.conversion.repository import sha256_of

CONTENT = bytes(range(256)) * 20_000  # 5 MB, more than one block


class _Server(ThreadingHTTPServer):
    """Serves CONTENT; `cuts` says after how many bytes each of the first answers breaks off."""

    def __init__(self):
        self.cuts, self.ranges, self.knows_ranges, self.status, self.announced = [], [], True, 200, None
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/model.pth.tar"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if server.knows_ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(CONTENT):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(server.announced or len(CONTENT) - start))
        self.end_headers()
        body = CONTENT[start:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with _Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
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
    with pytest.raises(ValueError, match="another length than announced"):
        download(server.url, tmp_path / "m", pause_seconds=0)
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "m").write_bytes(b"here")
    assert download(server.url, tmp_path / "m").read_bytes() == b"here"
    assert server.ranges == []


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
