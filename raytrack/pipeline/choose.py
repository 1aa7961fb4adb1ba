"""Some of a job's sequences, by the names of subjects and sequences."""

import dataclasses
import fnmatch
from collections.abc import Callable, Sequence

from raytrack.config import RunConfig, SequenceConfig
from raytrack.datasets.nersemble_layout import matching
from raytrack.errors import ConfigError

_MOST_LISTED = 20


def chosen(config: RunConfig, subjects: Sequence[str] = (), sequences: Sequence[str] = ()) -> RunConfig:
    """The configuration with those sequences whose names match.

    Args:
        config: With every sequence listed by itself; see `raytrack.config.expanded`.
        subjects: Names or patterns with `*`, `?` or `[…]`; all where there are none.
        sequences: The same for sequences, of a dataset by the folder's name or by subject and folder; there, as in a
            job file, `EMO-1` means `EMO-1`, else `EMO-1-…`.

    Raises:
        ConfigError: A name or pattern means nothing in the job, or no sequence is left.
    """
    kept = _kept(config.sequences, subjects, "subject", lambda one: one.key.subject, _is_subject)
    kept = _kept(kept, sequences, "sequence", lambda one: one.key.sequence, _is_sequence)
    return dataclasses.replace(config, sequences=tuple(kept))


def _kept(
    entries: Sequence[SequenceConfig],
    patterns: Sequence[str],
    what: str,
    name: Callable[[SequenceConfig], str],
    means: Callable[[str, SequenceConfig], bool],
) -> Sequence[SequenceConfig]:
    """The entries that any pattern means; each means one at least."""
    for pattern in patterns:
        if not any(means(pattern, entry) for entry in entries):
            names = list(dict.fromkeys(name(entry) for entry in entries))
            more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
            raise ConfigError(
                f"no {what} {pattern!r} in the job; there is: {', '.join(names[:_MOST_LISTED]) or 'nothing'}{more}"
            )
    return [entry for entry in entries if not patterns or any(means(pattern, entry) for pattern in patterns)]


def _is_subject(pattern: str, entry: SequenceConfig) -> bool:
    return fnmatch.fnmatchcase(entry.key.subject, pattern)


def _is_sequence(pattern: str, entry: SequenceConfig) -> bool:
    if fnmatch.fnmatchcase(entry.key.sequence, pattern):
        return True
    return bool(entry.root) and bool(matching([entry.sequence], pattern))
