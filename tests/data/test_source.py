"""Where files are looked for, what is refused, and downloads (from this machine)."""

import gzip
import hashlib
import http.server
import os
import threading
import time
from functools import partial

import pytest

from primo_pyro.data import source
from primo_pyro.data.source import DataFile, fetch, find, homes, replacing
from primo_pyro.errors import DataFileError, PrimoError

CONTENT = b"so little data" * 1000


def data_file(name="a.bin", urls=(), content=CONTENT):
    return DataFile(
        home="toy",
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        licence="CC0 of the toy",
        obtain="Ask the toy maker.",
        urls=urls,
    )


@pytest.fixture
def server(tmp_path):
    """Serves a folder on the loopback interface; ``server.asked`` counts the requests."""
    folder = tmp_path / "server"
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.folder, server.asked = folder, asked
    server.url = f"http://127.0.0.1:{server.server_port}/"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def put(folder, content=CONTENT, name="a.bin"):
    (folder / "toy").mkdir(parents=True)
    (folder / "toy" / name).write_bytes(content)
    return folder / "toy" / name


def test_explicit_path_then_environment_then_cache(tmp_path, monkeypatch):
    cached = put(source.cache_folder())
    assert fetch(data_file()) == cached
    named = put(tmp_path / "named")
    monkeypatch.setenv("PRIMO_DATA", str(tmp_path / "named"))
    assert fetch(data_file()) == named
    explicit = put(tmp_path / "explicit")
    assert fetch(data_file(), tmp_path / "explicit") == explicit
    assert fetch(data_file(), tmp_path / "explicit" / "toy") == explicit
    assert fetch(data_file(), explicit) == explicit


def test_what_the_environment_lacks_comes_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIMO_DATA", str(tmp_path))
    assert find(data_file()) is None
    cached = put(source.cache_folder())
    assert find(data_file()) == cached


def test_an_explicit_path_looks_nowhere_else(tmp_path, server):
    put(source.cache_folder())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataFileError, match="Ask the toy maker"):
        fetch(data_file(urls=(server.url + "a.bin",)), tmp_path / "empty")
    assert server.asked == []


def test_wrong_places_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataFileError, match="nowhere does not exist; expected"):
        homes("toy", tmp_path / "nowhere")
    monkeypatch.setenv("PRIMO_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataFileError, match=r"PRIMO_DATA names .*gone"):
        homes("toy")


def test_gated_data_is_never_downloaded(tmp_path):
    with pytest.raises(DataFileError, match="Ask the toy maker") as caught:
        fetch(data_file())
    assert str(tmp_path / "cache" / "toy") in str(caught.value)
    assert "PRIMO_DATA" in str(caught.value)
    assert isinstance(caught.value, PrimoError)


@pytest.mark.parametrize("content", [CONTENT[:-5], CONTENT.replace(b"little", b"likely", 1), b""])
def test_a_damaged_file_is_named_with_both_checksums(tmp_path, content):
    damaged = put(tmp_path / "d", content)
    with pytest.raises(DataFileError) as caught:
        fetch(data_file(), tmp_path / "d")
    message = str(caught.value)
    assert str(damaged) in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert hashlib.sha256(content).hexdigest() in message


def test_packing_does_not_matter_but_content_does(tmp_path):
    file = data_file("a.gz")
    for level in (1, 9):
        path = put(tmp_path / str(level), gzip.compress(CONTENT, level, mtime=level), "a.gz")
        assert fetch(file, path) == path
    whole = gzip.compress(CONTENT, 6)
    for i, damaged in enumerate((whole[:-20], b"<html>not found</html>", whole[:30] + b"xx" + whole[32:])):
        path = put(tmp_path / f"damaged{i}", damaged, "a.gz")
        with pytest.raises(DataFileError, match=file.sha256):
            fetch(file, path)


def test_download_lands_in_the_cache_once(server, capsys):
    (server.folder / "a.bin").write_bytes(CONTENT)
    file = data_file(urls=(server.url + "a.bin",))
    where = fetch(file)
    assert where == source.cache_folder() / "toy" / "a.bin"
    assert where.read_bytes() == CONTENT
    assert [p.name for p in where.parent.iterdir()] == ["a.bin"]
    shown = capsys.readouterr().err
    assert "CC0 of the toy" in shown
    assert "100%" in shown  # the progress bar
    assert fetch(file) == where
    assert server.asked == ["/a.bin"]


def test_download_goes_on_to_the_next_mirror(server):
    (server.folder / "edited.bin").write_bytes(CONTENT + b"!")
    (server.folder / "a.bin").write_bytes(CONTENT)
    urls = tuple(server.url + name for name in ("none.bin", "edited.bin", "a.bin"))
    assert fetch(data_file(urls=urls)).read_bytes() == CONTENT


def test_a_failed_download_leaves_nothing(server):
    (server.folder / "edited.bin").write_bytes(CONTENT + b"!")
    file = data_file(urls=(server.url + "none.bin", server.url + "edited.bin"))
    with pytest.raises(DataFileError, match="404") as caught:
        fetch(file)
    assert file.sha256 in str(caught.value)
    assert "Ask the toy maker" in str(caught.value)
    assert list((source.cache_folder() / "toy").iterdir()) == []


def test_replacing_is_all_or_nothing(tmp_path):
    target = tmp_path / "target"

    def interrupted():
        with replacing(target) as partial:
            partial.mkdir()
            (partial / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
    with replacing(target) as partial:
        partial.mkdir()
        (partial / "whole").write_text("whole")
        assert not target.exists()
    assert [p.name for p in tmp_path.rglob("*")] == ["target", "whole"]


def test_what_a_killed_run_left_is_swept_away(tmp_path):
    old, young = (tmp_path / f"target.partial-{age}" for age in ("old", "young"))
    for left in (old, young):
        left.mkdir()
        (left / "target").write_text("half")
    long_ago = time.time() - 2 * source.STALE_AFTER
    os.utime(old, (long_ago, long_ago))
    with replacing(tmp_path / "target") as partial:
        partial.write_text("whole")
    assert (tmp_path / "target").read_text() == "whole"
    assert not old.exists()
    assert young.exists()  # perhaps of a process that is at work
