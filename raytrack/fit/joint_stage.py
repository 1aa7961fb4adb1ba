"""Identity and focal length of a single camera's sequence: on which frames they are solved for."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from raytrack.fit.checkpoint import FitState
from raytrack.fit.joint_solver import JointSolver
from raytrack.fit.key_frames import key_frames_of_groups
from raytrack.fit.row_solver import RowProblem
from raytrack.fit.schedule import JointStage
from raytrack.fit.shared import SharedParameters
from raytrack.fit.views import SequenceViews


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
    """The state after a stage; the same one where there are too few frames to compare.

    Args:
        stage: Which iterations.
        state: Before.
        shared: Its shared parameters, the texture whole.
        problem: Of the rows.
        views: The sequence.
        solved: Frames that colours can speak for.
    """
    numbers = compared_frames(state, views, solved, stage.num_frames)
    if len(numbers) < 2:
        return state
    result = JointSolver(problem).solve_jointly(
        state.rows, shared, numbers.tolist(), stage.blur_schedule_px, hold_focal=stage.hold_focal
    )
    found = state.shared.with_values(shape=result.shared.shape, log_focal=result.shared.log_focal)
    return replace(state, rows=result.rows, shared=found)
