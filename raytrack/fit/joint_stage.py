"""Identity and focal length of a single camera's sequence: on which frames they are solved for."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from raytrack.fit.checkpoint import FitState
from raytrack.fit.joint_solver import JointSolver
from raytrack.fit.key_frames import key_frames_of_groups
from raytrack.fit.row_problem import RowProblem
from raytrack.fit.schedule import JointStage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.views import SequenceViews

_LEAST_TURN_RAD = 0.44
"""A head that turns or nods less shows too little of its depth: the focal length then stays as landmarks had it. A head
that hardly turns and one that does differ by more than this limit is wide (measured: 11° against 48° and more)."""


def turning_groups(
    rows: Float[Tensor, "frames columns"], solved: Bool[np.ndarray, " frames"], group: Int[np.ndarray, " frames"]
) -> set[int]:
    """Groups of frames in which the head turns far enough for its focal length to be known.

    Args:
        rows: Packed parameters.
        solved: Frames that count.
        group: Of each frame.
    """
    turns = rows[:, :2].numpy()
    known = np.unique(group[solved]).tolist()
    return {one for one in known if np.ptp(turns[solved & (group == one)], axis=0).max() > _LEAST_TURN_RAD}


def compared_frames(
    state: FitState, views: SequenceViews, solved: Bool[np.ndarray, " frames"], count: int
) -> Int[np.ndarray, " chosen"]:
    """Frames with a face, half of them evenly spaced, half those whose heads are turned the most differently.

    Args:
        state: Rows that tell how heads are turned.
        views: Detection scores and groups.
        solved: Frames that colours can speak for.
        count: How many are wanted; a few less or more come back.
    """
    numbers = np.flatnonzero(solved)
    even = numbers[np.unique(np.linspace(0, len(numbers) - 1, -(-count // 2)).round().astype(int))]
    turns = state.rows[numbers, :2].numpy()
    turned = numbers[key_frames_of_groups(views.scores[numbers], turns, views.group[numbers], count // 2)]
    return np.union1d(even, turned)


def solve_stage(
    stage: JointStage,
    state: FitState,
    shared: SharedParameters,
    problem: RowProblem,
    views: SequenceViews,
    solved: Bool[np.ndarray, " frames"],
) -> FitState:
    """The state after a stage; the same one where the head never turns.

    Args:
        stage: Which iterations.
        state: Before.
        shared: Its shared parameters, the texture whole.
        problem: Of the rows.
        views: The sequence.
        solved: Frames that colours can speak for.
    """
    turning = turning_groups(state.rows, solved, views.group)
    if not turning:
        return state
    numbers = compared_frames(state, views, solved, stage.num_frames)
    every = set(range(len(shared.log_focal)))
    result = JointSolver(problem).solve_jointly(
        state.rows,
        shared,
        numbers.tolist(),
        stage.blur_schedule_px,
        held_focals=every if stage.hold_focal else every - turning,
    )
    found = state.shared.with_values(shape=result.shared.shape, log_focal=result.shared.log_focal)
    return replace(state, rows=result.rows, shared=found)
