"""Scores of single pictures of a track, and what they add up to over many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from raytrack.export.neckline import neck_line_points, projected_neck_line_mask
from raytrack.export.outline import MatteAgreement, matte_agreement, outline_scores
from raytrack.export.region_scores import region_errors, region_faces, region_mse
from raytrack.export.scores import FramePhotometry, frame_photometry, photometric_scores, psnr_db
from raytrack.fit.framing import chin_lines
from raytrack.fit.landmark_sets import landmark_set
from raytrack.fit.observation import SequenceObservation
from raytrack.fit.painting import Painted
from raytrack.fit.track import Track
from raytrack.geometry.camera import Camera
from raytrack.head.model import HeadModel

_MATTE_THRESHOLD = 127


@dataclass(frozen=True, kw_only=True)
class ScoredPicture:
    """One camera's picture of one frame."""

    photometry: FramePhotometry
    matte: MatteAgreement | None
    """None without a matte of the person."""
    regions: Float[np.ndarray, "regions 2"]
    """See `raytrack.export.region_scores.region_errors`."""


class PictureScorer:
    """Scores pictures of one camera; several threads may use it at once."""

    def __init__(self, track: Track, head: HeadModel, seen: SequenceObservation, view: int) -> None:
        """Prepare what all frames share.

        Args:
            track: The track.
            head: The head it was made with.
            seen: What the camera saw.
            view: Which of the track's cameras it is, counted among those it has.
        """
        self._seen, self._head, self._track, self._view = seen, head, track, view
        self._turned = track.parameters.head_rotation()
        self._neck_points = neck_line_points(head)
        self._faces_of_regions = region_faces(head)
        self._detected = seen.detected
        self._names = landmark_set(seen.landmark_set)

    def score(self, index: int, image: UInt8[np.ndarray, "height width 3"], painted: Painted) -> ScoredPicture | None:
        """Compare a frame with how the track draws it; None where nothing of the head is in the picture.

        Args:
            index: The frame.
            image: The input frame.
            painted: As the track explains it.
        """
        camera = self._track.camera_at(index, self._view)
        alpha = None if self._seen.load_alpha is None else self._seen.load_alpha(index) > _MATTE_THRESHOLD
        above_neck_line = None
        if alpha is not None:
            line = projected_neck_line_mask(painted.vertices, self._neck_points, camera, fade=0)
            above_neck_line = alpha & (line > 0)
        photometry = frame_photometry(image, painted.color, painted.mask, above_neck_line)
        if photometry is None:
            return None
        agreement = None
        if alpha is not None:
            # Where the face was detected, the detection tells the head from the body, which a track cannot move.
            face_px = self._seen.landmarks_px[index] if self._detected[index] else painted.landmarks_px
            above = self._above_chin(index, painted, camera)
            agreement = matte_agreement(image, painted.color, painted.mask, alpha, above, face_px)
        errors = region_errors(image, painted.color, painted.face_index, self._faces_of_regions)
        return ScoredPicture(photometry=photometry, matte=agreement, regions=errors)

    def _above_chin(self, index: int, painted: Painted, camera: Camera) -> Bool[np.ndarray, "height width"]:
        """Pixels above a line through the chin, at right angles to the head's axis."""
        world = self._head.landmarks_world(torch.from_numpy(painted.vertices), self._names.embedding)
        chin_world = world[self._names.chin][None]
        (chin_px,), (up,) = chin_lines(camera, chin_world, self._turned[index : index + 1])
        if self._detected[index]:
            found = self._seen.landmarks_px[index, self._names.chin]
            own = camera.project(chin_world)[0].numpy()
            chin_px = chin_px + (found - own)
        height, width = camera.size_hw
        x, y = np.arange(width) + 0.5 - chin_px[0], np.arange(height)[:, None] + 0.5 - chin_px[1]
        return x * up[0] + y * up[1] > 0


def picture_scores(pictures: Sequence[ScoredPicture | None]) -> dict[str, float | None]:
    """What some pictures add up to, by the names in `raytrack.tables.schemas.PICTURE_SCORE_NAMES`."""
    drawn = [picture for picture in pictures if picture is not None]
    regions = region_mse([picture.regions for picture in drawn])
    return {
        **photometric_scores([picture.photometry for picture in drawn]),
        **outline_scores([picture.matte for picture in drawn if picture.matte is not None]),
        **{f"psnr_{name}_db": None if mse is None else psnr_db(mse) for name, mse in regions.items()},
    }
