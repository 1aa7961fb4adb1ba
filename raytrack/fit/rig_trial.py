"""A short fit that tells whether the cameras of an uncalibrated rig are right."""

from raytrack.fit.config import TrackConfig
from raytrack.fit.schedule import CameraStage, Stage
from raytrack.fit.stage_loop import run_stages
from raytrack.fit.stage_runner import StageRunner
from raytrack.fit.views import SequenceViews
from raytrack.head.model import HeadModel


def photo_error_of_cameras(
    head: HeadModel, views: SequenceViews, config: TrackConfig, usual_step_s: float | None = None
) -> float:
    """Mean colour error of an uncalibrated rig when its cameras have been refined twice: tells whether they are right.

    Args:
        head: The head model.
        views: With cameras to try.
        config: Sizes.
        usual_step_s: Time between neighbouring frames, where the views are of a few that are far apart.
    """
    runner = StageRunner(views, head, config, usual_step_s=usual_step_s)
    return run_stages(runner, None, None, stop=_up_to_second_cameras).photo_error


def _up_to_second_cameras(schedule: tuple[Stage, ...]) -> int:
    return [number for number, stage in enumerate(schedule, 1) if isinstance(stage, CameraStage)][1]
