"""Environment variables that must be set before Ray is imported; no import of Ray itself."""

import json
import os
import secrets
from pathlib import Path

from raytrack.pipeline.worker import ONE_THREAD

WORKER_ENVIRONMENT: dict[str, str] = {**ONE_THREAD, "OMP_WAIT_POLICY": "PASSIVE"}
"""Of workers: their threads do not wait for each other by keeping CPUs busy that other workers need."""

_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray tells a submitted job's driver about the job in it."""


def cluster_address() -> str:
    """Address of the cluster to work on; "" where there is none, also where `RAY_ADDRESS` is empty."""
    return os.environ.get("RAY_ADDRESS", "").strip()


def in_submitted_job() -> bool:
    """Whether this is the driver of a job that a cluster was given, which then is there for sure."""
    return bool(os.environ.get(_JOB_VARIABLE))


def cluster_worker_environment() -> dict[str, str]:
    """`WORKER_ENVIRONMENT`, less what the submitted job sets itself: Ray takes no variable from both."""
    try:
        own = json.loads(os.environ.get(_JOB_VARIABLE) or "{}")["runtime_env"]["env_vars"]
    except (ValueError, KeyError, TypeError):
        own = {}
    return {name: value for name, value in WORKER_ENVIRONMENT.items() if name not in own}


def prepare_environment(work_folder: Path) -> None:
    """Make Ray quiet, private and reproducible. What the user has set stays.

    A local instance gets token authentication with a token of its own, in a file that only its owner can read; a
    cluster that `RAY_ADDRESS` names keeps the authentication that it was started with.

    Args:
        work_folder: The run's scratch folder, where the token goes.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Tasks that ask for no GPU see none, so they cannot take memory on one.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if cluster_address():
        return
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        path = work_folder / "ray-token"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)
