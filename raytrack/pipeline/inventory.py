"""What an output folder holds of a sequence as its tables tell it, whichever job it was made by."""

from dataclasses import dataclass
from pathlib import Path

from raytrack.pipeline.records import FailureRecord, last_failures, last_started
from raytrack.pipeline.stage import Stage
from raytrack.tables.keys import SequenceKey
from raytrack.tables.store import part_path, read_footer, read_number, read_part, sequence_folders


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What there is of one sequence."""

    key: SequenceKey
    fingerprints: dict[str, str]
    """Of every stage that has committed parts, in the order of the stages."""
    done: frozenset[str]
    """Stages of which no part is missing."""
    failures: dict[str, FailureRecord]
    """Why stages that are not done were given up."""


def known_keys(out: Path) -> list[SequenceKey]:
    """Every sequence that a table of the output folder knows of; unions and identities are none."""
    return sorted({key for key, _ in sequence_folders(out) if not (key.is_union or key.is_identity)})


def take_inventory(out: Path, key: SequenceKey, stages: tuple[Stage, ...]) -> Inventory:
    """Look at a sequence's tables; neither configuration nor footage is needed.

    Args:
        out: The output folder.
        key: The sequence.
        stages: All stages, in order.

    Raises:
        RaytrackError: A table is damaged.
    """
    parts = {
        stage.name: sorted(part_path(out, stage.table, key, "x").parent.glob(f"part-{stage.name}-[0-9]*.parquet"))
        for stage in stages
    }
    footers = {name: read_footer(paths[0]) for name, paths in parts.items() if paths}
    fingerprints = {name: footer.fingerprint for name, footer in footers.items() if footer is not None}
    done = {stage.name for stage in stages if stage.name in fingerprints and _is_whole(stage, stages, parts)}
    started = last_started(out, key)
    needs = {stage.name: stage.needs for stage in stages}
    failures = {
        name: failure
        for name, failure in last_failures(out, key, None).items()
        # It says nothing any more once the stage is done, or one that it needs has been carried out anew.
        if name not in done
        and all(
            started.get(before, failure.failed_at) <= failure.failed_at for before in needs.get(name, tuple(started))
        )
    }
    return Inventory(key=key, fingerprints=fingerprints, done=frozenset(done), failures=failures)


def _is_whole(stage: Stage, stages: tuple[Stage, ...], parts: dict[str, list[Path]]) -> bool:
    """Whether a stage that is cut into chunks has all of them: the first ones have the same number of frames."""
    if not stage.fan_out:
        return True
    if not parts.get(stage.fan_out):
        return False
    if stage.is_for_some:
        return len(parts[stage.name]) == read_number(parts[stage.name][0], "num_parts")
    num_frames = read_number(parts[stage.fan_out][0], "num_frames")
    num_cameras = read_number(parts[stage.fan_out][0], "num_cameras", 1)
    first_cut = next(other.name for other in stages if other.fan_out == stage.fan_out)
    if not parts[first_cut]:
        return False
    chunk_frames = max(1, read_part(parts[first_cut][0]).num_rows)
    return len(parts[stage.name]) >= num_cameras * -(-num_frames // chunk_frames)
