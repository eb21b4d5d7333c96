"""boto3 as the agent uses it, against a small server that speaks S3's GetObject and ListObjectsV2."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from clara_agent.origin import Bucket, OriginUnreachable, open_origin

OBJECTS = {
    "models/tiny/config.json": b"{}",
    "models/tiny/model.safetensors": b"w" * 3_000_000,
    "models/tiny/x/y": b"deep",
}


class S3(BaseHTTPRequestHandler):
    """Path addressing: /BUCKET/KEY. The key 'locked' is refused."""

    def do_GET(self) -> None:
        url = urlparse(self.path)
        _, bucket, key = [*url.path.split("/", 2), ""][:3]
        if bucket != "clara":
            return self._send(404, _error("NoSuchBucket"))
        if "list-type" in parse_qs(url.query):
            return self._send(200, _listing(parse_qs(url.query)["prefix"][0]))
        if key == "locked/manifest.json":
            return self._send(403, _error("AccessDenied"))
        return self._send(200, OBJECTS[key]) if key in OBJECTS else self._send(404, _error("NoSuchKey"))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()


def _listing(prefix: str) -> bytes:
    keys = [key for key in sorted(OBJECTS) if key.startswith(prefix) and "/" not in key.removeprefix(prefix)]
    entries = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), S3)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    yield str(server.server_port)
    server.shutdown()
    server.server_close()


def test_a_folder_is_listed_without_what_lies_deeper(store: str):
    assert open_origin("s3://clara/models/tiny/", Path("/none")).names() == ["config.json", "model.safetensors"]


def test_a_file_arrives_in_chunks(store: str):
    chunks = list(open_origin("s3://clara/models/tiny", Path("/none")).read("model.safetensors"))
    assert b"".join(chunks) == OBJECTS["models/tiny/model.safetensors"]
    assert len(chunks) > 1


@pytest.mark.parametrize("uri", ["s3://clara/gone", "s3://nowhere/x"])
def test_what_is_not_there_is_told_apart_from_a_store_that_is_away(store: str, uri: str):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list(open_origin(uri, Path("/none")).read("manifest.json"))


def test_a_refused_key_may_be_repaired(store: str):
    with pytest.raises(OriginUnreachable, match="AccessDenied"):
        list(open_origin("s3://clara/locked", Path("/none")).read("manifest.json"))


def test_a_store_that_is_away_may_come_back(monkeypatch: pytest.MonkeyPatch, store: str):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    origin = open_origin("s3://clara/models/tiny", Path("/none"))
    assert isinstance(origin, Bucket)
    with pytest.raises(OriginUnreachable):
        origin.names()
