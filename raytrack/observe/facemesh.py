"""Face landmarks by MediaPipe's Face Mesh v2: 478 points with both irises, and 52 expression scores.

Source: Grishchenko et al., "Attention Mesh: High-fidelity Face Mesh Prediction in Real-time" (2020), and MediaPipe's
model cards "Face Mesh V2" and "Blendshape V2".
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8

from raytrack.assets import asset_path
from raytrack.observe.blazeface import BlazeFace, Detection, box_area, box_overlap
from raytrack.observe.crop import Window, crop, to_image
from raytrack.observe.facemesh_layout import EXPRESSION_LANDMARKS, EXPRESSION_NAMES, NUM_LANDMARKS, OUTER_EYE_CORNERS
from raytrack.observe.faces import FaceObservation
from raytrack.observe.graph import load_graph

INPUT_SIZE = 256
MIN_SCORE = 0.5
SURE_DETECTION = 0.75
"""A detection of at least this score is a face even where the landmark network doubts it: that one's own score falls to
nothing on profiles with an open mouth, whose landmarks are still of use."""
SAME_FACE_OVERLAP = 0.4
"""Faces whose boxes overlap more (intersection over union) are one."""
MAX_PASSES = 2
WINDOW_DRIFT = 0.05
"""Look again in a better window where the first was further off than this share of its side (or so many radians)."""
MARGIN = 1.5
"""Side of the network's window against the longer side of the face's box."""


def _angle(right: Float[np.ndarray, "2"], left: Float[np.ndarray, "2"]) -> float:
    return float(np.arctan2(left[1] - right[1], left[0] - right[0]))


def window_of_detection(detection: Detection) -> Window:
    """Where to look for the landmarks of a detected face."""
    left, top, right, bottom = detection.box
    return Window(
        center_px=((left + right) / 2, (top + bottom) / 2),
        size_px=MARGIN * max(right - left, bottom - top),
        angle_rad=_angle(*detection.keypoints[:2]),
    )


def window_of_landmarks(landmarks: Float[np.ndarray, "landmarks 2"]) -> Window:
    """Where to look for a face whose landmarks are roughly known: level with the eyes, centred on its bounds."""
    angle = _angle(*landmarks[list(OUTER_EYE_CORNERS)])
    cosine, sine = np.cos(angle), np.sin(angle)
    image_from_level = np.array([[cosine, -sine], [sine, cosine]])
    level = landmarks @ image_from_level
    low, high = level.min(axis=0), level.max(axis=0)
    center = image_from_level @ ((low + high) / 2)
    return Window(center_px=(center[0], center[1]), size_px=MARGIN * float((high - low).max()), angle_rad=angle)


def _close(a: Window, b: Window) -> bool:
    """Whether two windows cut out so nearly the same that looking again would change nothing."""
    shift = np.hypot(a.center_px[0] - b.center_px[0], a.center_px[1] - b.center_px[1]) / a.size_px
    turn = abs(np.remainder(a.angle_rad - b.angle_rad + np.pi, 2 * np.pi) - np.pi)
    return bool(max(shift, turn, abs(b.size_px / a.size_px - 1.0)) < WINDOW_DRIFT)


def _without_repeats(faces: list[FaceObservation]) -> tuple[FaceObservation, ...]:
    """Drop the less certain of faces that lie on top of each other; largest first."""
    kept: list[FaceObservation] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not kept or box_overlap(face.box, np.stack([other.box for other in kept])).max() < SAME_FACE_OVERLAP:
            kept.append(face)
    return tuple(sorted(kept, key=lambda face: -box_area(face.box)))


class FaceMesh:
    """Landmark detector with BlazeFace and Face Mesh v2. Holds the networks only: calls do not depend on each other.

    Args:
        max_faces: Follow at most so many faces in a frame, the largest.
        device: Where the networks run, as torch names devices.
    """

    name = "facemesh"
    landmark_set = "facemesh"
    num_landmarks = NUM_LANDMARKS
    expression_names = EXPRESSION_NAMES

    def __init__(self, *, max_faces: int = 8, device: str = "cpu"):
        self._max_faces = max_faces
        self._detector = BlazeFace(device)
        self._landmarks = load_graph(asset_path("facemesh/face_landmarks_detector.npz"), device)
        self._expressions = load_graph(asset_path("facemesh/face_blendshapes.npz"), device)

    def observe(self, image: UInt8[np.ndarray, "height width 3"]) -> tuple[FaceObservation, ...]:
        """Find all faces in one RGB image on its own, largest first."""
        return self._follow(image, ())

    def track(self, images: Iterable[UInt8[np.ndarray, "height width 3"]]) -> Iterator[tuple[FaceObservation, ...]]:
        """Find all faces in consecutive RGB frames, following each from one frame to the next.

        A face once found is looked for where it last was, so that it is kept in poses in which it would not be
        detected; the detector runs on every frame, so that a face is found as soon as it appears.

        Yields:
            The faces of each image, largest first; empty where there is none.
        """
        faces: tuple[FaceObservation, ...] = ()
        for image in images:
            faces = self._follow(image, faces)
            yield faces

    def _follow(
        self, image: UInt8[np.ndarray, "height width 3"], previous: tuple[FaceObservation, ...]
    ) -> tuple[FaceObservation, ...]:
        faces = self._update(image, previous, self._detector.detect(image))
        return faces or self._update(image, (), self._detector.detect_small(image))

    def _update(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        previous: tuple[FaceObservation, ...],
        detections: list[Detection],
    ) -> tuple[FaceObservation, ...]:
        """The previous frame's faces where they are now, and those detected elsewhere."""
        faces = []
        for face in previous:
            found = self._refine(image, window_of_landmarks(face.landmarks), detections)
            faces += [] if found is None else [found]
        for detection in detections:
            known = np.stack([face.box for face in faces]) if faces else np.zeros((0, 4))
            if box_overlap(detection.box, known).max(initial=0.0) < SAME_FACE_OVERLAP:
                found = self._refine(image, window_of_detection(detection), [detection])
                faces += [] if found is None else [found]
        return _without_repeats(faces)[: self._max_faces]

    def _refine(
        self, image: UInt8[np.ndarray, "height width 3"], window: Window, detections: list[Detection]
    ) -> FaceObservation | None:
        """Landmarks of the face in a window; None where there is none.

        Args:
            image: RGB.
            window: Where to look. It is centred anew where it turns out to be off.
            detections: What the detector found in the image: it can vouch for the face.
        """
        for _ in range(MAX_PASSES):
            landmarks, depth, score = self._look(image, window)
            better = window_of_landmarks(landmarks)
            if _close(window, better):
                break
            window = better
        box = np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])
        overlaps = box_overlap(box, np.stack([d.box for d in detections])) if detections else np.zeros(0)
        sure = [d.score for d, overlap in zip(detections, overlaps, strict=True) if overlap > SAME_FACE_OVERLAP]
        detected = max(sure, default=0.0)
        if score < MIN_SCORE and detected < SURE_DETECTION:
            return None
        return FaceObservation(
            landmarks=landmarks,
            depth=depth,
            score=max(score, detected / 2),
            expression_scores=self._score_expressions(landmarks),
            box=box,
        )

    def _look(
        self, image: UInt8[np.ndarray, "height width 3"], window: Window
    ) -> tuple[Float[np.ndarray, "landmarks 2"], Float[np.ndarray, " landmarks"], float]:
        cut = crop(image, window, INPUT_SIZE, repeat_border=True)
        points, logit = self._landmarks(torch.from_numpy(cut)[None].float() / 255.0)[:2]
        points = points.reshape(NUM_LANDMARKS, 3).cpu().numpy().astype(np.float64)
        landmarks = to_image(points[:, :2], window, INPUT_SIZE)
        depth = points[:, 2] * window.size_px / INPUT_SIZE
        return landmarks.astype(np.float32), depth.astype(np.float32), float(torch.sigmoid(logit.reshape(())))

    def _score_expressions(self, landmarks: Float[np.ndarray, "landmarks 2"]) -> Float[np.ndarray, " expressions"]:
        selected = torch.from_numpy(landmarks[list(EXPRESSION_LANDMARKS)])
        return self._expressions(selected[None])[0][0].cpu().numpy()
