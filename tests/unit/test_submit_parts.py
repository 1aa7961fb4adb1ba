"""Submitting jobs, as far as it needs no cluster: addresses, tokens, versions, what is sent, what is written."""

import dataclasses
import http.server
import importlib.metadata
import json
import os
import threading
import types
from pathlib import Path

import pytest
import tyro
import yaml

from raytrack import cli
from raytrack.assets import assets_folder
from raytrack.errors import AssetError, ConfigError, RaytrackError
from raytrack.job import load_job
from raytrack.pipeline import bundle, job_server, submit
from raytrack.pipeline.job_server import ClusterVersions, ask_versions, check_versions, is_exposed, server_url
from raytrack.pipeline.ray_environment import cluster_worker_environment, in_submitted_job
from raytrack.pipeline.submit import JobRequest

RAY = importlib.metadata.version("ray")
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@pytest.fixture
def no_ray_settings(monkeypatch, tmp_path):
    """An environment without any setting of Ray's, that is put back whatever the code sets."""
    inherited = {name: value for name, value in os.environ.items() if "RAY" not in name}
    monkeypatch.setattr(os, "environ", {**inherited, "HOME": str(tmp_path)})
    return monkeypatch


@pytest.fixture
def serve():
    """Starts servers that answer everything alike; they note whether they were shown a token."""
    servers = []

    def start(status: int, body: bytes, location: str = "") -> tuple[str, list[str | None]]:
        shown: list[str | None] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                shown.append(self.headers["Authorization"])
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", shown

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("", "http://127.0.0.1:8265"),
        ("head", "http://head:8265"),
        ("head:9000", "http://head:9000"),
        ("http://head:8265/", "http://head:8265"),
        ("https://ray.example.org", "https://ray.example.org:443"),
        ("https://example.org/ray/", "https://example.org:443/ray"),
        ("http://[::1]:8265", "http://[::1]:8265"),
    ],
)
def test_addresses(no_ray_settings, address, url):
    assert server_url(address) == url


def test_the_address_of_the_environment(no_ray_settings):
    no_ray_settings.setenv("RAY_API_SERVER_ADDRESS", "http://head:1234")
    assert server_url() == "http://head:1234"
    assert server_url("other") == "http://other:8265"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://head:10001", "no address of a job server"),
        ("head:6379", "where nodes join; jobs go to the dashboard"),
        ("http://", "no address of a job server"),
        ("head:port", "no address of a Ray cluster"),
    ],
)
def test_addresses_that_are_none(no_ray_settings, address, message):
    with pytest.raises(ConfigError, match=message):
        server_url(address)


def test_where_a_token_would_be_seen():
    assert is_exposed("http://head:8265")
    assert not any(map(is_exposed, ("http://127.0.0.1:8265", "http://localhost:1", "http://[::1]:1", "https://head:1")))


def test_tokens_are_looked_for_where_ray_does(no_ray_settings, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no token .*auth_token: No such file.*RAY_AUTH_MODE=disabled"):
        job_server.prepare_authentication()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of the home\n")
    assert job_server.prepare_authentication() == "of the home"
    (tmp_path / "named").write_text("")
    no_ray_settings.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "named"))
    with pytest.raises(ConfigError, match="named is empty"):
        job_server.prepare_authentication()
    (tmp_path / "named").write_text("named")
    assert job_server.prepare_authentication() == "named"
    no_ray_settings.setenv("RAY_AUTH_TOKEN", "given")
    assert job_server.prepare_authentication() == "given"
    no_ray_settings.setenv("RAY_AUTH_MODE", "disabled")
    assert job_server.prepare_authentication() == ""


def test_versions_are_asked_for_with_the_token(serve):
    answer = {"ray_version": "2.60.0", "data": {"pythonVersion": "3.11.7"}}
    url, shown = serve(200, json.dumps(answer).encode())
    assert ask_versions(url, "secret") == ClusterVersions(ray="2.60.0", python="3.11.7")
    assert set(shown) == {"Bearer secret"}
    ask_versions(url, "")
    assert shown[-1] is None


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b"", "wants a token"),
        (403, b"", "refuses the token"),
        (404, b"", "is no Ray job server"),
        (200, b"<html>", "is no Ray job server"),
        (200, b"{}", "is no Ray job server"),
        (200, b"[]", "is no Ray job server"),
    ],
)
def test_what_answers_may_be_something_else(serve, status, body, message):
    url, _ = serve(status, body)
    with pytest.raises(ConfigError, match=message):
        ask_versions(url, "secret")


def test_the_token_is_not_taken_elsewhere(serve):
    elsewhere, shown = serve(200, b'{"ray_version": "2.60.0"}')
    url, _ = serve(302, b"", location=f"{elsewhere}/api/version")
    with pytest.raises(ConfigError, match=rf"sends on to '{elsewhere}/api/version'.*the dashboard's own address"):
        ask_versions(url, "secret")
    assert not shown, "nobody else was asked"


@pytest.mark.parametrize(("token", "warnings"), [("secret", 1), ("", 0)])
def test_that_the_token_would_be_seen_is_said_before_it_is_sent(no_ray_settings, token, warnings):
    said: list[str] = []

    def ask(url: str, shown: str) -> ClusterVersions:
        assert shown == token
        assert len(said) == warnings
        raise ConfigError("asked")

    no_ray_settings.setattr(submit, "ask_versions", ask)
    no_ray_settings.setattr(submit, "prepare_authentication", lambda: token)
    with pytest.raises(ConfigError, match="asked"):
        submit.JobServer("http://head:8265", said.append)
    assert said == ["the token goes to http://head:8265 unencrypted; use a tunnel, or https"] * warnings


def test_nobody_answers(monkeypatch):
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at http://127.0.0.1:9 .*ray dashboard cluster.yaml"):
        ask_versions("http://127.0.0.1:9", "secret")


def test_versions_that_do_not_go_together():
    check_versions(ClusterVersions(ray=RAY, python="3.12.1"), "u")
    check_versions(ClusterVersions(ray=RAY), "u")
    with pytest.raises(ConfigError, match=rf"runs Ray 2\.9\.0, this machine Ray {RAY}.*ray\[default\]==2\.9\.0"):
        check_versions(ClusterVersions(ray="2.9.0"), "u")
    with pytest.raises(ConfigError, match=r"runs Python 3\.9\.18; raytrack needs 3\.10 to 3\.13"):
        check_versions(ClusterVersions(ray=RAY, python="3.9.18"), "u")


def test_without_rays_client(monkeypatch):
    monkeypatch.setattr(submit.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'raytrack\[cluster\]'"):
        submit.JobServer("head")


def test_the_output_folder_is_one_for_all_nodes(tmp_path, capsys):
    job = tmp_path / "job.yaml"
    job.write_text("sequences: [{video: a.mp4}]\n")
    assert cli.main(["submit", str(job), "--out", "out"]) == 2
    assert "--out 'out': give its absolute path" in capsys.readouterr().err
    assert cli.main(["submit", str(job), "--out", "/data/out", "--sequential"]) == 2
    assert "--sequential works in one process" in capsys.readouterr().err


def test_what_is_sent(tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    job = folder / "job.yaml"
    job.write_text("head: flame2023\nsequences: [{video: a.mp4}, {video: /data/b.mp4, masks: ../m}]\n")
    line = ["submit", str(tmp_path / "link" / "job.yaml"), "--out", "/data/out", "--seed", "7"]
    config = cli.job_config(tyro.cli(cli.Command, args=line))
    request = JobRequest(config=config, out="/data/out", retry="raytrack submit job.yaml")
    environment = submit._environment(request, tmp_path)
    assert environment["env_vars"] == {"RAYTRACK_RETRY": "raytrack submit job.yaml"}
    sent = load_job(Path(environment["working_dir"]) / "job.yaml", here=False)
    assert dataclasses.replace(sent) == config
    assert (sent.head, sent.track.seed) == ("flame2023", 7), "heads have the names that the cluster knows"
    assert [one.video for one in sent.sequences] == [str(folder / "a.mp4"), "/data/b.mp4"]
    assert sent.sequences[1].masks == str(tmp_path / "m")
    assert yaml.safe_load((tmp_path / "job" / "job.yaml").read_text())["head"] == "flame2023"
    (package,) = map(Path, environment["py_modules"])
    assert (package / "cli.py").read_bytes() == Path(cli.__file__).read_bytes()
    sums = (package / "_assets" / "SHA256SUMS").read_text().split()[1::2]
    assert all((package / "_assets" / name).is_file() for name in sums)
    assert not list(package.rglob("__pycache__"))
    assert "pip" not in environment


def test_credentials_are_not_sent(tmp_path):
    (tmp_path / "job.yaml").write_text("head: s3://KEY:SECRET@bucket/h.npz\nsequences: [{video: a.mp4}]\n")
    config = load_job(tmp_path / "job.yaml", here=False)
    with pytest.raises(AssetError, match="no credentials"):
        JobRequest(config=config, out="/o")


def test_nodes_that_have_raytrack_are_sent_the_job_alone(tmp_path):
    (tmp_path / "job.yaml").write_text("sequences: [{video: a.mp4}]\n")
    request = JobRequest(config=load_job(tmp_path / "job.yaml", here=False), out="/o", code="installed")
    environment = submit._environment(request, tmp_path)
    assert set(environment) == {"working_dir"}
    assert [path.name for path in Path(environment["working_dir"]).iterdir()] == ["job.yaml"]


def test_dependencies_in_the_versions_of_this_machine(tmp_path, monkeypatch):
    required = ["numpy>=1.26", "ray>=2.40", 'ruff>=0.6; extra == "dev"']
    monkeypatch.setattr(bundle.importlib.metadata, "requires", lambda name: required)
    entry = bundle.dependencies(tmp_path)
    (file,) = tmp_path.iterdir()
    constraint = "--constraint ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/" + file.name
    assert entry == {"packages": [constraint, "numpy>=1.26", "ray>=2.40"]}
    versions = file.read_text().splitlines()
    assert f"ray=={RAY}" in versions
    assert not [line for line in versions if "+" in line or line.startswith("raytrack")]
    monkeypatch.setattr(bundle, "_installed_versions", lambda: "ray==1\n")
    assert bundle.dependencies(tmp_path) != entry, "another list is another environment to Ray"


def test_dependencies_that_are_not_known(tmp_path, monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(bundle.importlib.metadata, "requires", requires)
    with pytest.raises(ConfigError, match="raytrack is not installed here"):
        bundle.dependencies(tmp_path)


def test_the_copy_has_the_assets_of_an_installed_package(tmp_path, monkeypatch):
    installed = tmp_path / "site" / "raytrack"
    bundle.shutil.copytree(assets_folder(), installed / "_assets")
    (installed / "cli.py").write_text("")
    monkeypatch.setattr(bundle, "_PACKAGE", installed)
    monkeypatch.setattr(bundle, "assets_folder", lambda: installed / "_assets")
    package = bundle.copy_package(tmp_path / "copy")
    assert (package / "cli.py").is_file()
    assert (package / "_assets" / "SHA256SUMS").is_file()


def test_output_that_is_told_again_is_written_once():
    written: list[str] = []
    log = submit._Log(written.append)
    log.rewind()
    log.append("one\n")
    log.append("two\n")
    log.rewind()  # the connection was lost
    log.append("one\ntw")
    log.append("o\nthree\n")
    log.whole("one\ntwo\nthree\nfour\n")
    log.whole("one\ntwo\nthree\nfour\n")
    assert "".join(written) == "one\ntwo\nthree\nfour\n"


class Told:
    """A job server's client that tells a story, piece by piece."""

    def __init__(self, *pieces, **info):
        self.pieces = list(pieces)
        self.info = {"driver_exit_code": None, "message": None, **info}

    async def tail_job_logs(self, job_id):
        for line in ("one\n", "two\n"):
            yield line
        if self.pieces:
            raise self.pieces.pop(0)

    def get_job_info(self, job_id):
        return types.SimpleNamespace(**self.info)

    def get_job_logs(self, job_id):
        return "one\ntwo\nthree\n"


def server_of(client) -> submit.JobServer:
    server = object.__new__(submit.JobServer)
    server.url, server._client, server._lost = "u", client, (RuntimeError, OSError)
    return server


class Status(str):
    """As Ray's own, which is not loaded here: it would read its authentication, once for all tests."""

    def is_terminal(self) -> bool:
        return self in {"SUCCEEDED", "FAILED", "STOPPED"}


def status(text: str, **others):
    return {"status": Status(text), **others}


@pytest.mark.parametrize(
    ("info", "exit_code", "message"),
    [
        (("SUCCEEDED", {"driver_exit_code": 0, "message": "fine"}), 0, ""),
        (("FAILED", {"driver_exit_code": 3, "message": "failed"}), 3, ""),
        (("FAILED", {"driver_exit_code": -9}), 137, ""),
        (("STOPPED", {}), 130, "the job was stopped"),
        (("FAILED", {"message": "no such package"}), 1, "no such package"),
    ],
)
def test_how_jobs_end(info, exit_code, message, monkeypatch):
    monkeypatch.setattr(submit, "_POLL_S", 0.01)
    written: list[str] = []
    name, others = info
    client = Told(ConnectionError("the tunnel broke"), RuntimeError("closed"), **status(name, **others))
    assert server_of(client).follow("job", written.append) == submit.JobOutcome(exit_code=exit_code, message=message)
    assert "".join(written) == "one\ntwo\nthree\n", "what was told twice is written once"


def test_a_cluster_that_is_gone_is_given_up(monkeypatch):
    monkeypatch.setattr(submit, "_POLL_S", 0.01)
    monkeypatch.setattr(submit, "_LOST_S", 0.1)
    client = Told(*[ConnectionError("refused")] * 1000, **status("RUNNING"))
    with pytest.raises(RaytrackError, match=r"u is out of reach \(refused\); job may go on all the same"):
        server_of(client).follow("job", lambda text: None)


def test_what_a_job_sets_is_not_set_again(no_ray_settings):
    assert not in_submitted_job()
    assert "OMP_NUM_THREADS" in cluster_worker_environment()
    no_ray_settings.setenv(JOB_VARIABLE, json.dumps({"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "2"}}}))
    assert in_submitted_job()
    assert "OMP_NUM_THREADS" not in cluster_worker_environment()
    assert "MKL_NUM_THREADS" in cluster_worker_environment()


def test_a_submitted_run_says_what_was_typed(no_ray_settings):
    assert cli._spelled(["run", "job.yaml"]) == "raytrack run job.yaml"
    no_ray_settings.setenv(submit.RETRY_VARIABLE, "raytrack submit job.yaml")
    assert cli._spelled(["run", "job.yaml"]) == "raytrack submit job.yaml"
