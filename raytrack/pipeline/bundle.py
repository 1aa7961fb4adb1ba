"""What is sent to a cluster: raytrack's own code with its assets, and the job."""

import hashlib
import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import yaml

from raytrack.assets import assets_folder
from raytrack.config import RunConfig
from raytrack.errors import ConfigError
from raytrack.mapping import to_mapping

JOB_FILE = "job.yaml"
_PACKAGE = Path(__file__).parents[1]
_UNPACKED = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}"
"""Each node's pip puts in where the job's folder was unpacked."""


def write_job(config: RunConfig, folder: Path) -> None:
    """Put the job into the folder that is sent as the job's working directory."""
    text = yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True)
    (folder / JOB_FILE).write_text(text, encoding="utf-8")


def copy_package(folder: Path) -> Path:
    """Copy the raytrack that runs here, laid out as in its wheel, whether it is installed or a checkout.

    Args:
        folder: Where the copy goes.

    Returns:
        The package's folder, to be sent as one of Ray's `py_modules`: it goes before a raytrack that nodes may have.

    Raises:
        AssetError: The assets are missing.
    """
    package = folder / "raytrack"
    left_out = shutil.ignore_patterns("__pycache__", "_assets", "*.nbi", "*.nbc")
    shutil.copytree(_PACKAGE, package, ignore=left_out)
    shutil.copytree(assets_folder(), package / "_assets", ignore=left_out)
    return package


def dependencies(folder: Path) -> dict[str, Any]:
    """Ray's `pip` entry that installs what raytrack depends on, in the versions that are installed here.

    Args:
        folder: The job's working directory, where the versions go.

    Raises:
        ConfigError: raytrack is not installed here, so that its dependencies are not known.
    """
    try:
        required = importlib.metadata.requires("raytrack") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(
            "raytrack is not installed here, so it is not known what it needs: install it (pip install -e .), or "
            "install what it needs on the cluster and leave --install-dependencies out"
        ) from error
    versions = _installed_versions()
    # Ray keeps what it installed for the same entry, so the entry tells one list of versions from the next.
    name = f"constraints-{hashlib.sha256(versions.encode()).hexdigest()[:12]}.txt"
    (folder / name).write_text(versions, encoding="utf-8")
    needed = [line for line in required if "extra ==" not in line]
    return {"packages": [f"--constraint {_UNPACKED}/{name}", *needed]}


def _installed_versions() -> str:
    """Every package here with its version, as pip's constraints; builds of one version count as the same."""
    found = {
        str(distribution.metadata["Name"]).lower(): distribution.version.partition("+")[0]
        for distribution in importlib.metadata.distributions()
    }
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name != "raytrack")
