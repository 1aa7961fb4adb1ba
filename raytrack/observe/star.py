"""The 68 iBUG points by STAR, from a TorchScript export that the user made.

Source: Zhou et al., "STAR Loss: Reducing Semantic Ambiguity in Facial Landmark Detection" (2023). Only the export's
interface is known here: RGB crops (n, 3, 256, 256) in [−1, 1] go in; points (n, 68, 2) come out, −1 at the crop's left
and top edges and 1 at its right and bottom ones, alone or as the last of several results. Faces are found by BlazeFace.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from raytrack.errors import AssetError
from raytrack.observe.blazeface import BlazeFace, Detection
from raytrack.observe.crop import Window, crop, to_image
from raytrack.observe.faces import FaceObservation
from raytrack.observe.torchscript import load_torchscript
from raytrack.observe.weights import EXTERNAL_WEIGHTS, find_weights

INPUT_SIZE = 256
NUM_LANDMARKS = 68
MARGIN = 1.45
"""Side of the network's window against the longer side of the detector's box, which spans brows to chin."""
_SHIFT = 0.04
"""The window's centre lies so far below the box's, in sides of the box: the box reaches above the brows."""


def window_of_detection(detection: Detection) -> Window:
    """Where to look for the landmarks of a detected face: upright, as the network was trained."""
    left, top, right, bottom = detection.box
    side = max(right - left, bottom - top)
    return Window(center_px=((left + right) / 2, (top + bottom) / 2 + _SHIFT * side), size_px=MARGIN * side)


class StarDetector:
    """Landmark detector of BlazeFace and STAR. Each frame is looked at on its own.

    Args:
        weights: A TorchScript file; by default the one in `$RAYTRACK_ASSETS/star`.
        max_faces: Follow at most so many faces in a frame, the largest.
        device: Where the networks run, as torch names devices.

    Raises:
        AssetError: The file is missing or not TorchScript.
    """

    name = "star"
    landmark_set = "ibug"
    num_landmarks = NUM_LANDMARKS
    expression_names = ()

    def __init__(self, weights: str = "", *, max_faces: int = 8, device: str = "cpu"):
        self._max_faces, self._device = max_faces, device
        self._path = find_weights("star", weights)
        self._module = load_torchscript(self._path, EXTERNAL_WEIGHTS["star"].wanted, device)
        self._detector = BlazeFace(device)

    def observe(self, image: UInt8[np.ndarray, "height width 3"]) -> tuple[FaceObservation, ...]:
        """Find all faces in one RGB image on its own, largest first.

        Raises:
            AssetError: The file is of another network.
        """
        detections = self._detector.detect(image) or self._detector.detect_small(image)
        detections = sorted(detections, key=lambda found: -float(np.prod(found.box[2:] - found.box[:2])))
        return tuple(self._face(image, detection) for detection in detections[: self._max_faces])

    def track(self, images: Iterable[UInt8[np.ndarray, "height width 3"]]) -> Iterator[tuple[FaceObservation, ...]]:
        """Find all faces in each frame.

        Yields:
            The faces of each image, largest first; empty where there is none.
        """
        for image in images:
            yield self.observe(image)

    def _face(self, image: UInt8[np.ndarray, "height width 3"], detection: Detection) -> FaceObservation:
        window = window_of_detection(detection)
        cut = crop(image, window, INPUT_SIZE, repeat_border=True)
        relative = self._look(torch.from_numpy(cut).permute(2, 0, 1)[None].float() / 127.5 - 1.0)
        landmarks = to_image((relative + 1.0) * (INPUT_SIZE / 2), window, INPUT_SIZE).astype(np.float32)
        return FaceObservation(
            landmarks=landmarks,
            depth=None,
            score=detection.score,
            expression_scores=None,
            box=np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)]),
            landmark_set=self.landmark_set,
        )

    @torch.no_grad()
    def _look(self, picture: Float[Tensor, "1 3 size size"]) -> Float[np.ndarray, "landmarks 2"]:
        result = self._module(picture.to(self._device))
        while isinstance(result, (tuple, list)) and result:
            result = result[-1]
        if not isinstance(result, Tensor) or result.shape != (1, NUM_LANDMARKS, 2):
            found = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            wanted = EXTERNAL_WEIGHTS["star"].wanted
            raise AssetError(f"{self._path}: gives {found} in place of points (1, {NUM_LANDMARKS}, 2). Get {wanted}")
        return result[0].double().cpu().numpy()
