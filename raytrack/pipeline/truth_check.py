"""Whether a sequence's ground truth can be of its footage: asked before any work, for scores come last."""

from raytrack.config import SequenceConfig
from raytrack.datasets.config import CaptureConfig
from raytrack.errors import InputError
from raytrack.media.config import ExtractConfig
from raytrack.pipeline.footage import read_recording
from raytrack.pipeline.sources import source_path


def check_truth(sequence: SequenceConfig, extract: ExtractConfig, capture: CaptureConfig) -> None:
    """Compare the numbers of frames. Footage that cannot be read is left for its own stage to report.

    Args:
        sequence: One with a ground truth.
        extract: How the footage is read.
        capture: How recordings of calibrated cameras are read.

    Raises:
        AssetError: A shipped file is missing or damaged.
        InputError: The truth cannot be read, or has another number of frames than the footage.
    """
    # Driver and `--help` do without it where there is no truth.
    from raytrack.export.truth import GroundTruth  # noqa: PLC0415

    truth = GroundTruth.load(source_path(sequence.ground_truth))
    try:
        cameras = read_recording(sequence, extract, capture).cameras
        num_frames = min(camera.source.num_frames for camera in cameras)
    except InputError:
        return
    if truth.num_frames != num_frames:
        raise InputError(
            f"{sequence.ground_truth}: the ground truth has {truth.num_frames} frames, the footage {num_frames}: "
            "it belongs to another clip; correct or remove `ground_truth`"
        )
