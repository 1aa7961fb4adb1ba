"""Environment variables that must be set before Ray is imported; no import of Ray itself."""

import os
import secrets
from pathlib import Path

from raytrack.pipeline.worker import ONE_THREAD

WORKER_ENVIRONMENT: dict[str, str] = {**ONE_THREAD, "OMP_WAIT_POLICY": "PASSIVE"}
"""Of workers: their threads do not wait for each other by keeping CPUs busy that other workers need."""


def cluster_address() -> str:
    """Address of the cluster to work on; "" where there is none, also where `RAY_ADDRESS` is empty."""
    return os.environ.get("RAY_ADDRESS", "").strip()


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
