"""Heads and weights given by URI: fetched once, never another file than the digest says."""

import hashlib
import http.server
import re
import shutil
import threading
from pathlib import Path

import pytest

from raytrack import remote
from raytrack.assets import asset_path, sha256_of
from raytrack.config import RunConfig
from raytrack.errors import AssetError
from raytrack.head.library import load_head
from raytrack.head.names import head_path
from raytrack.job import resolved, with_pinned_files
from raytrack.mapping import from_mapping
from raytrack.observe.weights import find_weights, weights_identity
from raytrack.pipeline.stages_segments import head_identity
from raytrack.remote import RemoteFile, fetched, is_uri, parse_uri, pinned

DIGEST = hashlib.sha256(b"weights").hexdigest()
OTHER = "0" * 64


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYTRACK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "shared" / "net.onnx"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def bucket(monkeypatch):
    """An S3 service of one file, s3://bucket/nets/net.onnx; its address, and the requests that it saw."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body: bytes):
            seen.append(self.command)
            found = self.path.partition("?")[0] == "/bucket/nets/net.onnx" and self.headers["Authorization"]
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(b"weights") if found else 0))
            self.send_header("Last-Modified", "Sun, 01 Nov 2026 10:00:00 GMT")
            self.end_headers()
            self.wfile.write(body if found else b"")

        def do_HEAD(self):
            self.answer(b"")

        def do_GET(self):
            self.answer(b"weights")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    yield f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.server_address[1]}", seen
    server.shutdown()
    server.server_close()


def test_from_s3(bucket, cache):
    service, seen = bucket
    path = fetched(f"s3://bucket/nets/net.onnx?{service}")
    assert path == cache / DIGEST / "net.onnx"
    assert path.read_bytes() == b"weights"
    assert seen.count("GET") == 1
    assert pinned(f"s3://bucket/nets/net.onnx?{service}").endswith(f"#sha256={DIGEST}")
    assert seen.count("GET") == 1, "it has not changed since"
    with pytest.raises(AssetError, match="another file than it should be"):
        fetched(f"s3://bucket/nets/net.onnx?{service}#sha256={OTHER}")
    with pytest.raises(AssetError, match=r"none\.onnx.*: there is no such file"):
        fetched(f"s3://bucket/nets/none.onnx?{service}")


def test_uris_are_told_from_paths_and_names():
    assert all(map(is_uri, ("s3://b/k.npz", "file:///x", "gs://b/k", "https://h/x.npz")))
    assert not any(map(is_uri, ("", "default", "/x/y.npz", "x.npz", "assets:demo/demo.mp4", "C:/x", "://x")))


def test_a_uri_is_taken_apart():
    assert parse_uri(f"s3://bucket/heads/flame.npz#sha256={DIGEST.upper()}") == RemoteFile(
        uri="s3://bucket/heads/flame.npz", sha256=DIGEST
    )
    file = parse_uri("s3://bucket/rvm.onnx?region=eu-west-1&endpoint_override=minio:9000")
    assert (file.name, file.sha256) == ("rvm.onnx", "")
    assert file.uri.endswith("minio:9000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://host/net.onnx", r"https:// cannot be fetched; known: file://, s3://, gs://"),
        (f"s3://b/net.onnx#sha256={DIGEST[:-1]}", "64 hexadecimal digits"),
        ("s3://b/net.onnx#sha256=", "64 hexadecimal digits"),
        ("s3://bucket", "names no file"),
        ("file:///shared/", "names no file"),
    ],
)
def test_uris_that_are_none(text, message):
    with pytest.raises(AssetError, match=message):
        parse_uri(text)


@pytest.mark.parametrize(
    "start", ["s3://KEY:SECRET@", "s3://SECRET@", "s3://KEY:SEC/RET@", "gs://SECRET@", "file://KEY:SECRET@"]
)
@pytest.mark.parametrize("mark", ["", f"#sha256={DIGEST}", "#sha256=x"])
def test_credentials_are_refused_and_not_shown(start, mark):
    with pytest.raises(AssetError, match=r"…@bucket/net\.onnx: .*no credentials.*those of the node") as caught:
        pinned(f"{start}bucket/net.onnx{mark}")
    assert not re.search("KEY|SEC|RET", str(caught.value))


def test_what_is_no_credential():
    assert parse_uri("s3://bucket/a@b:c.npz").name == "a@b:c.npz"
    assert parse_uri("gs://anonymous@bucket/net.onnx").uri == "gs://anonymous@bucket/net.onnx"
    with pytest.raises(AssetError, match=r"https://…@host/x: https:// cannot be fetched"):
        parse_uri("https://me:SECRET@host/x")
    with pytest.raises(AssetError, match=r"^s3://…: a file's URI has no credentials"):
        parse_uri("s3://KEY:SECRET/bucket/x")


def test_a_file_is_fetched_once(weights, cache, monkeypatch):
    uri = f"file://{weights}#sha256={DIGEST}"
    path = fetched(uri)
    assert path == cache / DIGEST / "net.onnx"
    assert path.read_bytes() == b"weights"
    assert cache.stat().st_mode & 0o077 == 0
    weights.unlink()
    monkeypatch.setattr(remote, "_fetch", None)
    assert fetched(uri) == path, "what is kept needs the source no more"


@pytest.mark.parametrize("mark", [f"#sha256={DIGEST}", ""])
def test_a_copy_that_is_damaged_is_fetched_again(weights, mark, monkeypatch):
    path = fetched(f"file://{weights}{mark}")
    assert fetched(f"file://{weights}{mark}") == path
    path.write_bytes(b"something else")
    assert fetched(f"file://{weights}{mark}") == path
    assert path.read_bytes() == b"weights"
    fetched(f"file://{weights}{mark}")
    monkeypatch.setattr(remote, "sha256_of", None)
    assert fetched(f"file://{weights}{mark}") == path, "read once per process"


def test_another_file_is_refused_and_not_kept(weights, cache):
    with pytest.raises(AssetError, match=rf"net.onnx is another file .*sha256 {DIGEST[:12]}…, expected {OTHER[:12]}…"):
        fetched(f"file://{weights}#sha256={OTHER}")
    assert not [path for path in cache.rglob("*") if path.is_file() and path.name == "net.onnx"]


def test_a_file_that_changes_is_fetched_anew(weights):
    first = fetched(f"file://{weights}")
    assert fetched(f"file://{weights}") == first
    weights.write_bytes(b"other weights")
    second = fetched(f"file://{weights}")
    assert second != first
    assert second.read_bytes() == b"other weights"
    assert first.read_bytes() == b"weights"


def test_pinning_holds_on_to_what_is_there_now(weights):
    assert pinned("default") == "default"
    assert pinned(str(weights)) == str(weights)
    text = pinned(f"file://{weights}")
    assert text == f"file://{weights}#sha256={DIGEST}"
    assert pinned(text) == text
    weights.write_bytes(b"changed in the course of the run")
    assert fetched(text).read_bytes() == b"weights"


@pytest.mark.parametrize("uri", ["file:///nowhere/net.onnx", f"file:///nowhere/net.onnx#sha256={DIGEST}"])
def test_what_is_not_there_is_said(uri):
    with pytest.raises(AssetError, match=r"net\.onnx: (there is no such file|cannot be fetched)") as caught:
        fetched(uri)
    assert not caught.value.passing


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAYTRACK_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(AssetError, match=r"name a folder in \$RAYTRACK_CACHE"):
        fetched("file:///x/net.onnx")


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_cache_that_others_can_write(weights, cache, mode):
    cache.mkdir()
    cache.chmod(mode)
    with pytest.raises(AssetError, match=r"others could change .*chmod go-w"):
        fetched(f"file://{weights}#sha256={DIGEST}")
    cache.chmod(0o755)
    fetched(f"file://{weights}#sha256={DIGEST}")


def test_a_cache_of_another_user(weights, cache, monkeypatch):
    fetched(f"file://{weights}")
    monkeypatch.setattr(remote.os, "geteuid", lambda: cache.stat().st_uid + 1)
    with pytest.raises(AssetError, match="another user's folder"):
        fetched(f"file://{weights}")


def test_a_cache_is_made_for_its_user_alone(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("RAYTRACK_CACHE", str(tmp_path / "new" / "cache"))
    inherited = remote.os.umask(0o002)
    try:
        fetched(f"file://{weights}")
    finally:
        remote.os.umask(inherited)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "new/cache")] == [0o700, 0o700]


def test_a_head_by_uri_is_the_head(tmp_path, cache):
    own = Path(shutil.copy(asset_path("head/head.npz"), tmp_path / "own.npz"))
    config = from_mapping(RunConfig, {"head": f"file://{own}", "sequences": [{"video": "a.mp4"}]}, where="test")
    config = with_pinned_files(resolved(config, tmp_path))
    assert config.head == f"file://{own}#sha256={sha256_of(own)}"
    assert head_path(config.head).is_relative_to(cache)
    assert load_head(config.head).num_vertices == load_head().num_vertices
    # The same head by path is the same to a fingerprint.
    by_path = from_mapping(RunConfig, {"head": str(own)}, where="test")
    assert head_identity(config) == head_identity(by_path) == {"name": "own", "sha256": sha256_of(own)}


def test_weights_by_uri_are_named_so_that_every_node_finds_them(weights, cache):
    uri = f"file://{weights}#sha256={DIGEST}"
    assert find_weights("rvm", uri) == cache / DIGEST / "net.onnx"
    assert weights_identity("rvm", uri) == {"path": uri, "sha256": DIGEST}
    with pytest.raises(AssetError, match="bgmv2 loads files that end with"):
        find_weights("bgmv2", uri)
