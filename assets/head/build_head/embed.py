"""Find the landmarks on a written head: render, detect, locate, and pack the npz's landmark arrays."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import landmarks
from .anatomy import Anatomy
from .head_map import vertex_normals
from .model import Head, pose
from .render import View

log = logging.getLogger("build_head")
LANDMARK_VIEWS = (
    (0, 0),
    (0, 10),
    (0, -10),
    (-15, 0),
    (15, 0),
    (-30, 0),
    (30, 0),
    (-42, 0),
    (42, 0),
    (-20, 12),
    (20, 12),
    (-20, -12),
    (20, -12),
)
NUM_LANDMARK_IDENTITIES = 11
VIEW_SEED = 8
FRONT_DEPTH_M = -0.01
"""Only faces in front of this depth carry landmarks."""
OPENINGS = (0.0, 0.5, 0.25)
"""Jaw openings of successive identities: closed lips cannot tell upper from lower."""


def build_landmarks(path: Path, anatomy: Anatomy, detect: Callable) -> dict[str, np.ndarray]:
    """The npz's landmark arrays: 478 points, 68 points, jawline per yaw."""
    head, surface = Head.load(path), anatomy.surface
    front = surface.vertices[surface.faces].mean(axis=1)[:, 2] > FRONT_DEPTH_M
    face, bary, mirror, frontal = embed_mesh_points(head, anatomy, front, detect)
    iris_face, iris_bary = embed_irises(anatomy, frontal)
    return {
        "landmark_face": np.concatenate([face, iris_face]).astype(np.uint16),
        "landmark_bary": np.vstack([bary, iris_bary]).astype(np.float32),
        "landmark_mirror": mirror.astype(np.uint16),
        "landmark68_of_478": np.array(landmarks.POINTS_68, np.uint16),
    } | embed_68(head, anatomy, front, face, bary)


def embed_mesh_points(head: Head, anatomy: Anatomy, front, detect) -> tuple[np.ndarray, ...]:
    """Faces and barycentrics of the 468 points, the mirror map of all 478, and the frontal detection."""
    surface = anatomy.surface
    part, template, faces = surface.part, surface.vertices, surface.faces
    samples = landmarks.surface_samples(np.isin(part, ("head_skin", "neck_skin", "mouth_interior")) & front)
    observations = landmark_observations(head, samples, detect)
    points = samples.on(template, faces)
    normals = samples.on(vertex_normals(template, faces), faces)
    mirror = landmarks.mirror_landmarks(observations[0].detected)
    best = landmarks.locate(
        observations,
        points,
        landmarks.first_guess(observations[0]),
        mirror[: landmarks.NUM_MESH_POINTS],
        landmarks.mirrored_samples(points, normals),
    )
    face, bary = smooth_face_oval(head, template, samples.face[best], samples.bary[best], part=part, front=front)
    moved = 1e3 * np.linalg.norm(points[best] - head.points(template, face, bary), axis=1)
    log.info("landmarks: %d views; oval smoothing moved points by up to %.2f mm", len(observations), moved.max())
    return face, bary, mirror, observations[0].detected


def embed_irises(anatomy: Anatomy, frontal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ten iris points on the eyeballs, ordered as in the frontal detection."""
    order = {
        "right": landmarks.iris_order(frontal, landmarks.RIGHT_IRIS),
        "left": landmarks.iris_order(frontal, landmarks.LEFT_IRIS),
    }
    first = {side: int(np.flatnonzero(anatomy.parts[f"{side}_eyeball"])[0]) for side in ("left", "right")}
    return landmarks.iris_embedding(anatomy.surface.faces, first, order)


def embed_68(head: Head, anatomy: Anatomy, front, face, bary) -> dict[str, np.ndarray]:
    """The 68 iBUG points with an even jawline, and the jawline per yaw."""
    surface, named = anatomy.surface, anatomy.regions
    template, faces = surface.vertices, surface.faces
    skip = surface.faces_inside(named["nose"] | named["lips"] | named["mouth_interior"])
    outline = landmarks.surface_samples((surface.part == "head_skin") & front & ~skip)
    jawline = landmarks.even_jawline(head.points(template, face, bary))
    jaw_face, jaw_bary = landmarks.snap(jawline, template, faces, outline)
    contour = landmarks.contour_by_yaw(head.points(template, jaw_face, jaw_bary), outline.on(template, faces))
    inner = list(landmarks.POINTS_68[landmarks.NUM_JAW_POINTS :])
    return {
        "landmark68_face": np.concatenate([jaw_face, face[inner]]).astype(np.uint16),
        "landmark68_bary": np.vstack([jaw_bary, bary[inner]]).astype(np.float32),
        "contour_yaw_deg": landmarks.YAW_BINS_DEG.astype(np.int8),
        "contour_face": outline.face[contour].astype(np.uint16),
        "contour_bary": outline.bary[contour].astype(np.float16),
    }


def smooth_face_oval(head: Head, template, face, bary, *, part, front) -> tuple[np.ndarray, np.ndarray]:
    """Smooth the 36 oval points and put them back onto the outer skin."""
    skin = landmarks.surface_samples(np.isin(part, ("head_skin", "neck_skin")) & front)
    oval = list(landmarks.FACE_OVAL)
    smooth = landmarks.smooth_oval(head.points(template, face, bary))
    face, bary = face.copy(), bary.copy()
    face[oval], bary[oval] = landmarks.snap(smooth[oval], template, head.faces, skin)
    return face, bary


def landmark_observations(head: Head, samples, detect) -> list:
    """Views of the mean head first, then of random identities."""
    look = {"texture": head.texture(), "uv": head.arrays["uv"], "uv_faces": head.arrays["uv_faces"].astype(int)}
    rng = np.random.default_rng(VIEW_SEED)
    found = []
    for k in range(NUM_LANDMARK_IDENTITIES + 1):
        opening = pose(jaw_open=OPENINGS[k % len(OPENINGS)])
        vertices = head.vertices(None if k == 0 else 0.8 * rng.normal(size=len(head.shape_basis)), None, opening)
        views = (
            LANDMARK_VIEWS if k == 0 else [LANDMARK_VIEWS[i] for i in rng.choice(len(LANDMARK_VIEWS), 5, replace=False)]
        )
        for yaw, pitch in views:
            view = View(yaw_deg=yaw, pitch_deg=pitch, px_per_m=1750, centre=(0, 0, 0.02))
            found.append(landmarks.observe(vertices, head.faces, samples, view, detect=detect, look=look))
    return [f for f in found if f is not None]
