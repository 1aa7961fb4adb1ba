"""Commands answer at once: what the command line and the configuration import is light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "ray", "numba", "cv2"}
CONFIGS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "raytrack").glob("*/config.py")
)


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after a statement."""
    report = (
        "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    script = f"try:\n    {statement}\nfinally:\n    {report}"
    finished = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stderr.splitlines()[-1]))


@pytest.mark.parametrize("module", ["raytrack", "raytrack.errors", "raytrack.config", "raytrack.cli", *CONFIGS])
def test_import_loads_nothing_heavy(module):
    loaded = loaded_by(f"import {module}")
    assert "raytrack" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["export", "--help"], ["status", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    loaded = loaded_by(f"import raytrack.cli, sys; sys.argv = ['raytrack', *{arguments}]; raytrack.cli.main()")
    assert "raytrack" in loaded
    assert not loaded & HEAVY


def test_heavy_imports_would_be_seen():
    assert "numba" in loaded_by("import numba")
