"""Where compiled kernels go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = "from raytrack.render import jit; import os; print(os.environ['NUMBA_CACHE_DIR'])"


def cache_folder(**environment: str) -> Path:
    inherited = {key: value for key, value in os.environ.items() if key not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}}
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    return Path(result.stdout.strip())


def test_a_folder_of_the_user_alone(tmp_path: Path) -> None:
    folder = cache_folder(HOME=str(tmp_path))
    assert folder.parent == tmp_path / ".cache" / "raytrack"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_user_s_choice_stands(tmp_path: Path) -> None:
    assert cache_folder(NUMBA_CACHE_DIR=str(tmp_path / "mine")) == tmp_path / "mine"
    assert cache_folder(XDG_CACHE_HOME=str(tmp_path)).parent == tmp_path / "raytrack"


def test_a_home_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, where a folder should be")
    folder = cache_folder(HOME=str(home), TMPDIR=str(tmp_path))
    assert folder.is_dir()
    assert folder.parent == tmp_path


def test_the_package_stays_light() -> None:
    script = "import raytrack.render, sys; print([m for m in ('torch', 'numba', 'cv2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_unknown_names_of_the_package() -> None:
    import raytrack.render

    with pytest.raises(AttributeError, match="nothing"):
        _ = raytrack.render.nothing
