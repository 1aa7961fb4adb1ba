"""Starting Ray where it cannot be started, and what its environment is."""

import os
import socket
import time

import pytest
import tiny_pipeline as tiny

from raytrack.errors import ConfigError
from raytrack.pipeline.ray_environment import prepare_environment


@pytest.fixture(scope="module", autouse=True)
def authentication(tmp_path_factory):
    """Ray reads its authentication once in a process: as a local run sets it, for the tests that come after these."""
    prepare_environment(tmp_path_factory.mktemp("authentication"))
    import ray

    return ray


@pytest.fixture
def environment(monkeypatch):
    """An environment that is put back, without any setting of Ray's."""
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if "RAY" not in name})
    return os.environ


@pytest.fixture
def executor():
    """The module that needs Ray."""
    from raytrack.pipeline import ray_executor

    return ray_executor


def test_an_empty_address_is_none(tmp_path, environment):
    environment["RAY_ADDRESS"] = ""
    prepare_environment(tmp_path)
    assert environment["RAY_AUTH_MODE"] == "token"
    assert (tmp_path / "ray-token").is_file()


def test_a_cluster_keeps_its_own_authentication(tmp_path, environment):
    environment["RAY_ADDRESS"] = "10.0.0.1:6379"
    prepare_environment(tmp_path)
    assert "RAY_AUTH_MODE" not in environment
    assert not (tmp_path / "ray-token").exists()


def test_waiting_threads_take_no_cpu(tmp_path, environment):
    environment.pop("OMP_WAIT_POLICY", None)
    prepare_environment(tmp_path)
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["OMP_NUM_THREADS"] == "1"


def test_an_address_where_nobody_answers_is_given_up_soon(tmp_path, out, monkeypatch, executor):
    monkeypatch.setattr(executor, "_CONNECT_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(ConfigError, match=r"no answer within 3 s.*unset RAY_ADDRESS.*--sequential"):
            tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, sequential=False)
    assert time.monotonic() - started < 20


def test_an_address_that_is_none_is_said_in_one_line(tmp_path, out, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS=nonsense .*Invalid address format"):
        tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, sequential=False)


@pytest.mark.parametrize("error", [RuntimeError("no port"), OSError(28, "No space"), ValueError("x"), TimeoutError()])
def test_a_local_instance_that_does_not_start(tmp_path, out, monkeypatch, executor, error):
    def init(**options):
        raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(executor.ray, "init", init)
    with pytest.raises(ConfigError, match=r"cannot be started on this machine .*--sequential"):
        tiny.run(tiny.job(tmp_path / "in", {"a": {}}), out, sequential=False)
