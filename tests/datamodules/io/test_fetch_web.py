"""Downloads: a real HTTP server on this machine, broken, slow to trust, and asked by several processes at once."""

import hashlib
import logging
import multiprocessing
import os
import shutil
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.datamodules.io.cache import make_once
from app.datamodules.io.fetch import fetch
from app.errors import InputError

CONTENT = b"category,text\nfresh,a joy\nrotten,a bore\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER_SHA256 = hashlib.sha256(b"other").hexdigest()


def kept(cache: Path) -> list[str]:
    """Files that a reader of the cache could take for data, and leftovers."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


class Site:
    """An HTTP server on this machine; counts the requests for each path."""

    def __init__(self, redirect: str | None = None, certificate: Path | None = None) -> None:
        self.requests: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.path)
                if self.path.startswith("/redirect"):
                    self.send_response(302)
                    self.send_header("Location", str(redirect))
                    self.end_headers()
                elif self.path.startswith("/missing"):
                    self.send_error(404)
                else:
                    self.send_response(200)
                    surplus = 100 if self.path.startswith("/cut") else 0
                    self.send_header("Content-Length", str(len(CONTENT) + surplus))
                    self.end_headers()
                    self.wfile.write(CONTENT)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site():
    server = Site()
    yield server
    server.close()


def test_a_download_is_made_once_and_keeps_its_name(tmp_path, site, caplog):
    caplog.set_level(logging.INFO, logger="app.datamodules.io.fetch")
    source = f"{site.address}/data/reviews.csv.gz?version=2"
    first = fetch(f"{source}#sha256={SHA256}", tmp_path)
    assert first.read_bytes() == CONTENT
    assert first.name == "reviews.csv.gz"
    site.close()
    assert fetch(f"{source}#sha256={SHA256}", tmp_path) == first
    assert len(site.requests) == 1
    assert [SHA256 in record.getMessage() for record in caplog.records] == [True]


def test_two_sites_may_share_a_file_name(tmp_path, site):
    paths = [fetch(f"{site.address}/{folder}/data.csv#sha256={SHA256}", tmp_path) for folder in ("a", "b")]
    assert paths[0] != paths[1]


@pytest.mark.parametrize(
    ("path", "sha256", "message"),
    [("file.csv", OTHER_SHA256, SHA256), ("cut.csv", SHA256, "broke off after 40 of 140"), ("missing", SHA256, "404")],
)
def test_a_failed_download_leaves_nothing(tmp_path, site, path, sha256, message):
    with pytest.raises(InputError, match=message):
        fetch(f"{site.address}/{path}#sha256={sha256}", tmp_path)
    assert kept(tmp_path) == []


def test_a_site_that_is_down_is_an_input_error(tmp_path, site):
    site.close()
    with pytest.raises(InputError, match="cannot be downloaded .*check address and network"):
        fetch(f"{site.address}/file.csv#sha256={SHA256}", tmp_path)


def test_a_cached_file_that_was_changed_is_fetched_again(tmp_path, site):
    source = f"{site.address}/file.csv#sha256={SHA256}"
    fetch(source, cache_dir=tmp_path).write_bytes(b"half a fi")
    assert fetch(source, cache_dir=tmp_path).read_bytes() == CONTENT
    assert len(site.requests) == 2


def test_a_cache_that_cannot_be_written_is_an_input_error(tmp_path, site):
    (tmp_path / "cache").write_text("a file where a folder is due")
    with pytest.raises(InputError, match="cannot be written"):
        fetch(f"{site.address}/file.csv#sha256={SHA256}", tmp_path / "cache")


def test_processes_that_start_together_download_once(tmp_path, site):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    source = f"{site.address}/file.csv#sha256={SHA256}"

    def one_rank() -> None:
        start.wait(timeout=20)
        os._exit(0 if fetch(source, cache_dir=tmp_path).read_bytes() == CONTENT else 1)

    ranks = [context.Process(target=one_rank, daemon=True) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout=30)
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert len(site.requests) == 1


def test_a_process_that_is_killed_leaves_neither_half_a_file_nor_a_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    half_written = context.Event()

    def write_half(part: Path) -> None:
        part.write_bytes(CONTENT[:9])
        half_written.set()
        time.sleep(60)

    process = context.Process(target=make_once, args=(tmp_path / "file.csv", write_half), daemon=True)
    process.start()
    assert half_written.wait(timeout=20)
    process.kill()
    process.join(timeout=20)
    assert not (tmp_path / "file.csv").exists()
    make_once(tmp_path / "file.csv", lambda part: part.write_bytes(CONTENT))
    assert (tmp_path / "file.csv").read_bytes() == CONTENT
    assert kept(tmp_path) == ["file.csv"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
def test_https_needs_no_checksum_unless_it_leads_to_http(tmp_path, site, monkeypatch):
    certificate = tmp_path / "site.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(certificate), "-out", str(tmp_path / "only.pem")]
    subprocess.run([*make.split(), *names], check=True, capture_output=True)
    with certificate.open("ab") as stream:
        stream.write((tmp_path / "only.pem").read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "only.pem"))
    secure = Site(redirect=f"{site.address}/file.csv", certificate=certificate)
    try:
        cache = tmp_path / "cache"
        assert fetch(f"{secure.address}/file.csv", cache_dir=cache).read_bytes() == CONTENT
        with pytest.raises(InputError, match="redirects to http://.*add #sha256="):
            fetch(f"{secure.address}/redirect.csv", cache_dir=cache)
        assert site.requests == []
        assert fetch(f"{secure.address}/redirect.csv#sha256={SHA256}", cache).read_bytes() == CONTENT
    finally:
        secure.close()
