"""Rules of the code base that no linter knows: import arrows, the only home of Ray, what the library must not do."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "raytrack").rglob("*.py"))

LAYERS = (
    ("errors",),
    ("assets", "geometry", "mapping"),
    ("remote",),
    ("head", "render", "media", "tables"),
    ("observe", "datasets"),
    ("fit",),
    ("export",),
    ("config",),
    ("job",),
    ("pipeline",),
    ("view",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
"""Units of the package, lowest first. Imports go only to a lower layer: units of one layer never import each other."""

RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}


def dotted_name(path: Path) -> str:
    """`raytrack/fit/terms.py` -> `raytrack.fit.terms`; a package's `__init__` has the package's name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    """`raytrack.fit.terms` -> `fit`; the top package itself has none."""
    return [*module.split("."), ""][1]


def imported_names(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports, at any depth: in functions, relative, or by a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, base]).rstrip(".")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((node.lineno, text.value) for text in node.args[:1] if isinstance(text, ast.Constant))
        elif isinstance(node, ast.Constant) and re.fullmatch(r"raytrack(\.\w+)+", str(node.value)):
            # A registry may name a module to be imported on first use.
            yield node.lineno, node.value


def import_faults(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module."""
    unit, faults = unit_of(module), []
    for line, name in sorted(set(imported_names(ast.parse(source), module, is_package=is_package))):
        other = unit_of(name)
        if name.split(".")[0] == "ray" and unit != "pipeline":
            faults.append(f"{module}:{line}: only raytrack.pipeline imports {name}")
        elif name.split(".")[0] == "raytrack" and other in RANK and other != unit:
            if not unit:
                faults.append(f"{module}:{line}: the package itself imports nothing, but here {name}")
            elif RANK[other] >= RANK[unit]:
                faults.append(f"{module}:{line}: {unit} (layer {RANK[unit]}) imports {name} (layer {RANK[other]})")
    return faults


def catches_everything(node: ast.AST) -> bool:
    """Whether a node is `except:`, `except Exception`, `except BaseException` or `suppress` of them."""
    if isinstance(node, ast.ExceptHandler):
        caught = [node.type] if not isinstance(node.type, ast.Tuple) else node.type.elts
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        caught = node.args
    else:
        return False
    return any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in caught)


def tracked_text_files() -> Iterator[tuple[str, str]]:
    """Path and text of the files that git tracks (or would, if added)."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b""
        if b"\0" not in data[:4096]:
            yield name, data.decode("utf-8", errors="replace")


def test_every_unit_has_a_layer():
    units = {unit_of(dotted_name(path)) for path in MODULES} - {""}
    assert units <= set(RANK), f"give these a layer: {sorted(units - set(RANK))}"


@pytest.mark.parametrize("path", MODULES, ids=dotted_name)
def test_imports_point_downwards(path):
    source = path.read_text(encoding="utf-8")
    assert not import_faults(source, dotted_name(path), is_package=path.name == "__init__.py")


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import raytrack.fit.terms", "raytrack.geometry.mesh"),
        ("from raytrack import render", "raytrack.head.model"),
        ("from ..fit import terms", "raytrack.render.shading"),
        ("def late():\n    from raytrack.pipeline import driver", "raytrack.export.nerf"),
        ("BACK_ENDS = {'x': 'raytrack.pipeline.driver'}", "raytrack.render.library"),
        ("import ray", "raytrack.view.report"),
        ("def late():\n    import ray", "raytrack.cli"),
        ("from ray import cluster_utils", "raytrack.cli"),
        ("import importlib\nimportlib.import_module('ray.util')", "raytrack.cli"),
        ("from raytrack.cli import main", "raytrack"),
    ],
)
def test_import_faults_are_seen(source, module):
    assert len(import_faults(source, module)) == 1


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from raytrack.geometry.camera import Camera", "raytrack.render.protocol"),
        ("from .terms import Term", "raytrack.fit.stages"),
        ("from raytrack import __version__", "raytrack.cli"),
        ("import ray", "raytrack.pipeline.driver"),
        ("KEY = 'raytrack.fingerprint'", "raytrack.tables.store"),
        ("RUNNERS = ('ray', 'sequential')", "raytrack.config"),
    ],
)
def test_allowed_imports_pass(source, module):
    assert not import_faults(source, module)


def test_library_neither_prints_nor_asserts():
    faults = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            if (prints and path.name != "cli.py") or isinstance(node, ast.Assert):
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:60]}")
    assert not faults


def test_only_the_pipeline_catches_everything_and_only_once():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if catches_everything(node)
    ]
    assert len(found) <= 1, "bugs become rows of the failures table in one place only"
    assert all(place.startswith("raytrack/pipeline/") for place in found), found


def test_no_tracked_file_names_a_path_of_one_machine():
    machine_path = re.compile(r"(?<![\w./])/(?:work|farm|root|home|Users|opt/\w+)/[\w.]")
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in tracked_text_files()
        for number, line in enumerate(text.splitlines(), start=1)
        if machine_path.search(line)
    ]
    assert not found
