"""Is everything in an output folder whole, and which scores are worth a look?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytrack.errors import ConfigError, RaytrackError
from raytrack.export.config import DatasetFormatName, dataset_path
from raytrack.pipeline.inventory import known_keys
from raytrack.pipeline.screen import Screen
from raytrack.pipeline.subjects import identity_parts
from raytrack.pipeline.summary import sequence_scores
from raytrack.pipeline.unions import UNITED_FORMATS, union_parts
from raytrack.tables.keys import SequenceKey
from raytrack.tables.score_meanings import SCORE_MEANINGS, unusual_scores
from raytrack.tables.store import part_path, read_footer, read_part

# What reads datasets needs OpenCV, which `raytrack --help` must not wait for.
# ruff: noqa: PLC0415

_CHECKED_FORMATS: tuple[DatasetFormatName, ...] = UNITED_FORMATS
"""Formats whose frames are listed in `transforms.json`; of the others, files are looked for."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What there is in an output folder."""

    out: Path
    scores: dict[str, dict[str, Any]]
    """Of each sequence that has some, as `summary.json` has them."""
    problems: tuple[str, ...]
    """What is missing or damaged, in words."""

    def as_document(self) -> dict[str, Any]:
        """For JSON: scores, which of them are worth a look, what the usual ranges are, and problems."""
        return {
            "sequences": {
                name: {"scores": scores, "worth_a_look": unusual_scores(scores)} for name, scores in self.scores.items()
            },
            "usual": {name: meaning.usual for name, meaning in SCORE_MEANINGS.items() if meaning.usual},
            "problems": list(self.problems),
        }


def validate(out: Path) -> Validation:
    """Look at everything that tables know of; changes nothing.

    Raises:
        ConfigError: The folder holds no run.
    """
    keys = known_keys(out)
    if not keys:
        raise ConfigError(f"{out}: not a folder that raytrack wrote (it has no tables)")
    scores: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for key in keys:
        try:
            found = sequence_scores(out, key)
        except RaytrackError:  # Said among the problems.
            continue
        if found:
            scores[key.sequence] = found
    for key in keys:
        problems += _sequence_problems(out, key)
    return Validation(out=out, scores=scores, problems=(*problems, *_identity_problems(out), *_union_problems(out)))


def _sequence_problems(out: Path, key: SequenceKey) -> list[str]:
    """Tables, the files they name, the track and the datasets of one sequence."""
    from raytrack.export.dataset_check import dataset_problems

    problems, datasets, tracked = [], {}, {}
    for path in sorted((out / "tables").glob(f"*/{key.partition().as_posix()}/part-*.parquet")):
        try:
            rows = read_part(path)
        except RaytrackError as error:
            problems.append(str(error))
            continue
        problems += _missing_files(out, key, path)
        if path == part_path(out, "exports", key, "export-00000"):
            datasets = {row["path"]: row["num_frames"] for row in rows.to_pylist() if row["kind"] == "dataset"}
        if path == part_path(out, "track_static", key, "track-00000"):
            tracked = {row["path"]: row["num_frames"] for row in rows.to_pylist()}
    for track, num_frames in tracked.items():
        if (out / track).is_file():  # Else it is said already.
            problems += _track_problems(out, key, track, num_frames)
    for name in _CHECKED_FORMATS:
        if (path := dataset_path(name, key.sequence)) in datasets:
            problems += dataset_problems(out / path, datasets[path])
    return problems


def _missing_files(out: Path, key: SequenceKey, path: Path) -> list[str]:
    footer = read_footer(path)
    missing = [name for name in footer.files if not (out / name).is_file()] if footer else []
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return [f"{key.sequence}: {name}{more} missing; run again to make it anew" for name in missing[:1]]


def _array_problems(out: Path, key: SequenceKey, file: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """What an archive holds, and what is wrong with it."""
    from raytrack.fit.npz import read_npz

    try:
        arrays = read_npz(out / file)
    except RaytrackError as error:
        return {}, [f"{key.sequence}: {error}"]
    broken = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    return arrays, [f"{key.sequence}: {file}: {name} holds numbers that are not finite" for name in broken]


def _track_problems(out: Path, key: SequenceKey, file: str, num_frames: int) -> list[str]:
    arrays, problems = _array_problems(out, key, file)
    if not arrays:
        return problems
    if "timestep_id" not in arrays:
        return [*problems, f"{key.sequence}: {file} has no timestep_id: it is no track, or damaged"]
    if len(arrays["timestep_id"]) != num_frames:
        problems.append(f"{key.sequence}: {file} has {len(arrays['timestep_id'])} of {num_frames} frames")
    return problems


def _identity_problems(out: Path) -> list[str]:
    """Of the identities that subjects' sequences share."""
    problems = []
    for key, path in identity_parts(out):
        try:
            rows = read_part(path).to_pylist()
        except RaytrackError as error:
            problems.append(str(error))
            continue
        problems += _missing_files(out, key, path)
        for row in rows:
            if (out / row["path"]).is_file():
                problems += _array_problems(out, key, row["path"])[1]
    return problems


def _union_problems(out: Path) -> list[str]:
    from raytrack.export.dataset_check import dataset_problems

    problems = []
    for _, path in union_parts(out):
        try:
            row, *_ = read_part(path).to_pylist()
        except RaytrackError as error:
            problems.append(str(error))
            continue
        problems += dataset_problems(out / row["path"], row["num_train"] + row["num_val"] + row["num_test"])
    return problems


def write_validation(found: Validation, screen: Screen) -> None:
    """Say it to a person: a table of scores for each sequence, then what is wrong."""
    for name, scores in found.scores.items():
        screen.write(f"{name}\n{_score_table(scores)}")
        for camera, own in scores.get("cameras", {}).items():
            looks = [f"{score} {own[score]:.3g}" for score in unusual_scores(own)]
            screen.write(f"  camera {camera}: " + (f"worth a look: {', '.join(looks)}\n" if looks else "as usual\n"))
        for score, value in scores.get("ground_truth", {}).items():
            if value is not None:
                screen.write(f"  {'truth ' + score:30} {value:9.3f}\n")
    screen.write("".join(f"problem: {problem}\n" for problem in found.problems))
    if not found.problems:
        screen.write(f"{found.out}: tables, tracks and datasets are whole\n")


def _score_table(scores: dict[str, Any]) -> str:
    lines = []
    for name, meaning in SCORE_MEANINGS.items():
        value = scores.get(name)
        if value is None:
            continue
        number = f"{value:9d}" if isinstance(value, int) else f"{value:9.3f}"
        look = "  " if meaning.is_usual(value) else "! "
        lines.append(f"{look}{name:30} {number} {meaning.usual:8} {meaning.words}\n")
    return "".join(lines)
