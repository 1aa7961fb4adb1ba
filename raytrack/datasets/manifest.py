"""Manifests: lists of sequences beside a job, as a table or a list, with the line that each entry stands on."""

import csv
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raytrack.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One sequence of a manifest."""

    where: str
    """File and line, for messages."""
    values: Mapping[str, Any]


def read_manifest(path: Path, columns: Collection[str], list_columns: Mapping[str, str] | None = None) -> list[Entry]:
    """The entries of a manifest.

    Args:
        path: A `.csv` file with a line of column names, a `.jsonl` file with an object on each line, or a `.yaml` file
            that holds a list of mappings.
        columns: The names that a table's columns may have; whoever reads the entries checks the keys of the others.
        list_columns: Those of them whose cells hold several values, and what stands between these; "" for blanks.
            Empty cells are left out.

    Raises:
        ConfigError: The file cannot be read or is of another kind, or an entry is none; the message names the line.
    """
    readers: dict[str, Callable[[Path], list[Entry]]] = {
        ".csv": lambda path: _from_table(path, columns, list_columns or {}),
        ".jsonl": _from_lines,
        ".yaml": _from_yaml,
        ".yml": _from_yaml,
    }
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{path}: a manifest ends with {', '.join(readers)}")
    try:
        entries = readers[path.suffix.lower()](path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if not entries:
        raise ConfigError(f"{path}: lists no sequences")
    return entries


def _from_table(path: Path, columns: Collection[str], list_columns: Mapping[str, str]) -> list[Entry]:
    entries: list[Entry] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            names = [name.strip() for name in next(rows, [])]
            _check_columns(names, columns, f"{path}:1")
            for cells in rows:
                if not any(cell.strip() for cell in cells):
                    continue
                where = f"{path}:{rows.line_num}"
                if len(cells) > len(names):
                    raise ConfigError(f"{where}: {len(cells)} cells under {len(names)} columns")
                given = {name: cell.strip() for name, cell in zip(names, cells, strict=False) if cell.strip()}
                values = {
                    name: _values(text, list_columns[name]) if name in list_columns else text
                    for name, text in given.items()
                }
                entries.append(Entry(where=where, values=values))
        except csv.Error as error:
            raise ConfigError(f"{path}:{rows.line_num}: not a table ({error})") from error
    return entries


def _values(text: str, separator: str) -> list[str]:
    return [value for part in text.split(separator or None) if (value := part.strip())]


def _check_columns(names: list[str], columns: Collection[str], where: str) -> None:
    unknown = [name for name in names if name not in columns]
    if unknown:
        listed = ", ".join(repr(name) for name in unknown)
        raise ConfigError(f"{where}: unknown column{'s' * (len(unknown) > 1)} {listed}; known: {', '.join(columns)}")
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{where}: there are two columns {', '.join(sorted(twice))}")


def _from_lines(path: Path) -> list[Entry]:
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            entries.append(_entry(where, json.loads(line)))
        except ValueError as error:
            raise ConfigError(f"{where}: not JSON ({error})") from error
    return entries


def _from_yaml(path: Path) -> list[Entry]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        items = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if node is None:
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError(f"{path}:1: a manifest is a list of sequences, each with its `video` or `root`")
    lines = [one.start_mark.line + 1 for one in node.value]
    return [_entry(f"{path}:{line}", item) for line, item in zip(lines, items, strict=True)]


def _entry(where: str, item: Any) -> Entry:
    if not isinstance(item, dict):
        raise ConfigError(f"{where}: a sequence is a mapping such as {{video: anna.mp4, name: anna}}, got {item!r}")
    return Entry(where=where, values=item)
