"""What all tests share: shape checks, reproducible arithmetic, real footage where there is some."""

import functools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]

# Rendering and just-in-time compilation have no steady speed, and a red test must be red again.
hypothesis.settings.register_profile("raytrack", deadline=None, derandomize=True)
hypothesis.settings.load_profile("raytrack")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell, where processes are deaf to Ctrl-C, and those that tests start inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def shape_checked_modules() -> Iterator[str]:
    """Modules whose annotations are checked at run time.

    Left out: the pipeline, because Ray cannot pickle decorated functions by value, and modules that compile with
    numba, because it must see the plain functions.
    """
    for path in sorted((ROOT / "raytrack").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        compiles = any(line in source for line in ("import numba", "from numba", "from raytrack.render.jit import"))
        if path.stem != "__init__" and path.parent.name != "pipeline" and not compiles:
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


def pytest_configure() -> None:
    """Switch on jaxtyping's shape checks, unless RAYTRACK_SHAPE_CHECKS=0."""
    if os.environ.get("RAYTRACK_SHAPE_CHECKS", "1") != "0":
        # The numeric tower lets an int stand for a float, as type checkers do.
        checker = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
        install_import_hook(list(shape_checked_modules()), checker)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses real footage, and skip what needs a CUDA device where there is none."""
    for item in items:
        if "shared_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
        if item.get_closest_marker("gpu") and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@functools.cache
def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    """One torch thread and a fixed seed, so that a test gives the same numbers alone and in company."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Real footage that is not part of the project: RAYTRACK_SHARED, or the folder `shared` beside the checkout."""
    folder = Path(os.environ.get("RAYTRACK_SHARED", ROOT.parent / "shared"))
    if not (folder / "clips").is_dir():
        pytest.skip("real footage is not there: set RAYTRACK_SHARED to the folder that holds clips/")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder that does not exist yet."""
    return tmp_path / "out"
