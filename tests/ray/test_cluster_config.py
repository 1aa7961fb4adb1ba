"""cluster.yaml: Ray takes it, would not take it with a mistake in it, and it keeps its promises."""

import copy
import json
import re
import subprocess
import sys

import pytest
import yaml

from raytrack.pipeline.capacity import CONFIG_VARIABLE, autoscaled_kinds, planned_capacity

# In a process of its own, for Ray reads its authentication once in a process.
VALIDATE = """
import copy, json, sys
from jsonschema import ValidationError
from ray.autoscaler._private.util import fillout_defaults, prepare_config, validate_config
verdicts = {}
for name, config in json.load(sys.stdin).items():
    try:
        # As given: what `ray up` fills in would hide keys that are misspelt.
        validate_config({"cluster_synced_files": [], **copy.deepcopy(config)})
        prepared = prepare_config(copy.deepcopy(config))
        validate_config(prepared)
        verdicts[name] = ""
    except (ValidationError, ValueError, KeyError) as error:
        verdicts[name] = str(error).splitlines()[0] or type(error).__name__
json.dump(verdicts, open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def config(repository):
    return yaml.safe_load((repository / "cluster.yaml").read_text(encoding="utf-8"))


def changed(config, *path, to=None, key=None) -> dict:
    """The configuration with one key renamed, or one value changed."""
    changed = copy.deepcopy(config)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[key or path[-1]] = inner.pop(path[-1]) if key else to
    return changed


def test_ray_takes_it_and_would_see_mistakes(config, tmp_path):
    configs = {
        "as it is": config,
        "max_wrokers": changed(config, "max_workers", key="max_wrokers"),
        "min_worker": changed(config, "available_node_types", "gpu", "min_workers", key="min_worker"),
        "imagee": changed(config, "docker", "image", key="imagee"),
        "'many'": changed(config, "max_workers", to="many"),
        "'sixteen'": changed(config, "available_node_types", "cpu", "resources", "CPU", to="sixteen"),
        "hed": changed(config, "head_node_type", to="hed"),
    }
    answer = tmp_path / "verdicts.json"
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE, answer], input=json.dumps(configs), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(answer.read_text())
    assert set(verdicts) == set(configs)
    assert verdicts.pop("as it is") == ""
    for mistake, verdict in verdicts.items():
        assert verdict, f"{mistake} was not seen"
        if mistake != "hed":
            assert mistake in verdict


def test_workers_come_when_needed_and_go(config):
    kinds = config["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert kinds["gpu"]["min_workers"] == kinds["cpu"]["min_workers"] == 0
    assert kinds["gpu"]["resources"]["GPU"] == 1
    assert 0 < config["idle_timeout_minutes"] <= 15


def test_nobody_gets_in_without_the_token(config):
    (head,) = (command for command in config["head_start_ray_commands"] if "ray start" in command)
    (worker,) = (command for command in config["worker_start_ray_commands"] if "ray start" in command)
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--dashboard-host=127.0.0.1" in head
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in command for command in config["setup_commands"])


def test_it_holds_no_secret_and_one_version_of_ray(repository, config):
    text = (repository / "cluster.yaml").read_text(encoding="utf-8")
    assert not re.search(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\b[0-9a-f]{40,}\b|secret_access_key|BEGIN .*KEY", text)
    constraints = (repository / "constraints.txt").read_text(encoding="utf-8")
    (version,) = re.findall(r"^ray==(\S+)$", constraints, re.MULTILINE)
    gpu = config["available_node_types"]["gpu"]
    images = (config["docker"]["image"], gpu["docker"]["worker_image"])
    assert all(image.startswith(f"rayproject/ray:{version}-py311") for image in images)
    assert any("--constraint ~/raytrack/constraints.txt" in command for command in config["setup_commands"])


def test_what_it_may_grow_to_is_planned_for(repository, monkeypatch):
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    assert autoscaled_kinds() == (), "outside a submitted job nothing is known of the cluster"
    monkeypatch.setenv(CONFIG_VARIABLE, str(repository / "cluster.yaml"))
    capacity = planned_capacity([{"CPU": 0.0}], autoscaled_kinds())
    assert capacity.cpus == 8 * 16 + 4 * 8
    assert capacity.largest_node_cpus == 16
    assert any(node.get("GPU") == 1 for node in capacity.nodes)
    assert capacity.can_hold({"CPU": 8, "GPU": 1})
    assert capacity.largest_node_gpus == 0, "there is none now"


def test_a_cluster_as_it_is():
    capacity = planned_capacity([{"CPU": 0.0}, {"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}], ())
    assert (capacity.cpus, capacity.largest_node_cpus) == (12, 8)
    assert (capacity.largest_gpu_node_cpus, capacity.largest_node_gpus) == (4, 2)
    assert not capacity.can_hold({"CPU": 8, "GPU": 1}), "no one node has both"


@pytest.mark.parametrize("text", ["available_node_types: 3", "[", "max_workers: {}", "- a"])
def test_a_configuration_that_cannot_be_read_is_none(tmp_path, monkeypatch, text):
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "config.yaml"))
    assert autoscaled_kinds() == ()
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none.yaml"))
    assert autoscaled_kinds() == ()
