"""Some of a job's sequences, by the names of subjects and sequences."""

import dataclasses
import fnmatch
from collections.abc import Callable, Sequence

from raytrack.config import RunConfig, SequenceConfig
from raytrack.datasets.nersemble_layout import matching
from raytrack.errors import ConfigError
from raytrack.tables.keys import SequenceKey

_MOST_LISTED = 20


def chosen(config: RunConfig, subjects: Sequence[str] = (), sequences: Sequence[str] = ()) -> RunConfig:
    """The configuration with those sequences whose names match.

    Args:
        config: With every sequence listed by itself; see `raytrack.job.expanded`.
        subjects: Names or patterns with `*`, `?` or `[…]`; all where there are none.
        sequences: The same for sequences, of a dataset by the folder's name or by subject and folder; there, as in a
            job file, `EMO-1` means `EMO-1`, else `EMO-1-…`.

    Raises:
        ConfigError: A name or pattern means nothing in the job, or no sequence is left.
    """
    kept = _kept(config.sequences, subjects, "subject", lambda one: one.key.subject, _of_subjects)
    kept = _kept(kept, sequences, "sequence", lambda one: one.key.sequence, _of_sequences)
    return dataclasses.replace(config, sequences=tuple(kept))


def _kept(
    entries: Sequence[SequenceConfig],
    patterns: Sequence[str],
    what: str,
    name: Callable[[SequenceConfig], str],
    meant: Callable[[str, Sequence[SequenceConfig]], set[SequenceKey]],
) -> Sequence[SequenceConfig]:
    """The entries that any pattern means; each means one at least."""
    if not patterns:
        return entries
    keys: set[SequenceKey] = set()
    for pattern in patterns:
        found = meant(pattern, entries)
        if not found:
            names = list(dict.fromkeys(name(entry) for entry in entries))
            more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
            raise ConfigError(
                f"no {what} {pattern!r} in the job; there is: {', '.join(names[:_MOST_LISTED]) or 'nothing'}{more}"
            )
        keys |= found
    return [entry for entry in entries if entry.key in keys]


def _of_subjects(pattern: str, entries: Sequence[SequenceConfig]) -> set[SequenceKey]:
    return {entry.key for entry in entries if fnmatch.fnmatchcase(entry.key.subject, pattern)}


def _of_sequences(pattern: str, entries: Sequence[SequenceConfig]) -> set[SequenceKey]:
    """By the sequences' names, and by the folders' among all of a subject's."""
    keys = {entry.key for entry in entries if fnmatch.fnmatchcase(entry.key.sequence, pattern)}
    folders: dict[tuple[str, str], dict[str, SequenceKey]] = {}
    for entry in entries:
        if entry.root:
            folders.setdefault((entry.root, entry.key.subject), {})[entry.sequence] = entry.key
    return keys | {of_subject[name] for of_subject in folders.values() for name in matching(of_subject, pattern)}
