"""Pictures that tell whether a built head looks right."""

from pathlib import Path

import cv2
import numpy as np

from raytrack.head.asset_format import read_head
from raytrack.head.regions import PERTURBATION_REGIONS

from .model import Head, pose
from .render import View, render, supersampled

POSES = {
    "neutral": ({}, {}),
    "blink": ({"eyeBlinkLeft": 1, "eyeBlinkRight": 1}, {}),
    "half blink": ({"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5}, {}),
    "jaw 1.0": ({}, {"jaw_open": 1.0}),
    "jaw 1.5": ({}, {"jaw_open": 1.5}),
    "jaw side": ({}, {"jaw": (5, 6.4, 0)}),
    "smile": ({"mouthSmileLeft": 1, "mouthSmileRight": 1}, {}),
    "smile open": (
        {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "mouthUpperUpLeft": 0.6, "mouthUpperUpRight": 0.6},
        {"jaw_open": 0.25},
    ),
    "pucker": ({"mouthPucker": 1}, {}),
    "funnel": ({"mouthFunnel": 1}, {"jaw_open": 0.2}),
    "frown": ({"mouthFrownLeft": 1, "mouthFrownRight": 1, "browDownLeft": 1, "browDownRight": 1}, {}),
    "surprise": (
        {"browInnerUp": 1, "browOuterUpLeft": 1, "browOuterUpRight": 1, "eyeWideLeft": 1, "eyeWideRight": 1},
        {"jaw_open": 0.5},
    ),
    "cheek puff": ({"cheekPuff": 1}, {}),
    "sneer": ({"noseSneerLeft": 1, "noseSneerRight": 1}, {}),
    "tongue out": ({"tongueOut": 1}, {"jaw_open": 0.6}),
    "close+open": ({"mouthClose": 1}, {"jaw_open": 1.0}),
    "gaze left": ({}, {"eye_left": (0, 28, 0), "eye_right": (0, 28, 0)}),
    "gaze down": ({"eyeLookDownLeft": 1, "eyeLookDownRight": 1}, {"eye_left": (22, 0, 0), "eye_right": (22, 0, 0)}),
    "neck yaw 70": ({}, {"neck": (0, 70, 0)}),
    "neck down 40": ({}, {"neck": (40, 0, 0)}),
    "neck up 35": ({}, {"neck": (-35, 0, 0)}),
    "neck tilt 30": ({}, {"neck": (0, 0, 30)}),
}
DRAWN_REGIONS = (
    "scalp",
    "neck_upper",
    "neck_lower",
    "bust",
    "face",
    "forehead",
    "left_eye_region",
    "right_eye_region",
    "nose",
    "lips",
    "lips_tight",
    "eyelids",
    "left_ear",
    "right_ear",
    "boundary",
    "sclerae",
    "irises",
    "mouth_interior",
    "teeth",
    "tongue",
)
"""Painted over one another in this order."""


def textured(head: Head) -> dict:
    """Arguments for render()."""
    return {"texture": head.texture(), "uv": head.arrays["uv"], "uv_faces": head.arrays["uv_faces"].astype(int)}


def grid(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    """Tiles pictures of one size."""
    blank = np.full_like(pictures[0], 255)
    pictures = pictures + [blank] * (-len(pictures) % columns)
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)])


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """Writes a title into the corner."""
    return cv2.putText(
        np.ascontiguousarray(picture), title, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (20, 20, 20), 1, cv2.LINE_AA
    )


def save(path: Path, picture: np.ndarray) -> None:
    """RGB to file."""
    cv2.imwrite(str(path), picture[..., ::-1])


def draw_pictures(head: Head, out: Path) -> None:
    """Turntable, poses, close-ups, identities and atlas."""
    look, faces, neutral = textured(head), head.faces, head.vertices()

    def shot(vertices, size, scale, centre, *, yaw=0, pitch=0):
        return supersampled(
            vertices, faces, View(size_hw=size, yaw_deg=yaw, pitch_deg=pitch, centre=centre, px_per_m=scale), **look
        )

    save(
        out / "views.png",
        np.hstack(
            [
                shot(neutral, (560, 480), 1450, (0, -0.02, 0.02), yaw=y, pitch=p)
                for y, p in ((0, 0), (40, 0), (90, 0), (180, 0), (0, -30))
            ]
        ),
    )
    posed = {n: head.vertices(None, head.expression(**e), pose(**p)) for n, (e, p) in POSES.items()}
    save(
        out / "poses.png",
        grid([titled(shot(v, (330, 300), 1000, (0, -0.01, 0.02), yaw=12), n) for n, v in posed.items()], 8),
    )
    close = ("neutral", "blink", "half blink", "jaw 1.0", "smile open", "tongue out", "pucker", "gaze down")
    save(
        out / "close.png",
        grid([titled(shot(posed[n], (470, 420), 3000, (0, -0.005, 0.08), yaw=8, pitch=4), n) for n in close], 4),
    )
    rng = np.random.default_rng(3)
    people = [head.vertices(rng.normal(size=len(head.shape_basis))) for _ in range(16)]
    save(out / "identities.png", grid([shot(v, (330, 300), 1000, (0, -0.01, 0.02), yaw=15) for v in people], 8))
    save(out / "albedo.png", (head.texture() * 255).round().astype(np.uint8))
    draw_atlas(head, out)


def draw_regions(path: Path, head: Head, out: Path) -> None:
    """Regions as raytrack reads them, in colours: all, then those of the region perturbation."""
    model = read_head(path)
    views = [View(size_hw=(560, 480), yaw_deg=y, centre=(0, -0.02, 0.02), px_per_m=1450) for y in (0, 45, 90, 180)]
    rows = []
    for names in (DRAWN_REGIONS, PERTURBATION_REGIONS):
        palette = np.random.default_rng(12).uniform(0.25, 1.0, (len(names), 3))
        colours = np.full((len(head.faces), 3), 0.2)
        for name, colour in zip(names, palette, strict=True):
            colours[model.face_region(name).numpy()] = colour
        rows.append(np.hstack([supersampled(head.vertices(), head.faces, v, face_colours=colours) for v in views]))
    save(out / "regions.png", np.vstack(rows))


def draw_atlas(head: Head, out: Path) -> None:
    """The atlas wireframe, one colour per part."""
    atlas = np.full((1120, 1120, 3), 255, np.uint8)
    corners = head.arrays["uv"][head.arrays["uv_faces"].astype(int)]
    for triangle, part in zip(corners, head.arrays["face_part"], strict=False):
        shade = tuple(int(v) for v in 180 * np.random.default_rng(int(part)).uniform(size=3))
        cv2.polylines(
            atlas,
            [(np.stack([triangle[:, 0], 1 - triangle[:, 1]], axis=1) * 1120).astype(np.int32)],
            True,
            shade,
            1,
            cv2.LINE_AA,
        )
    save(out / "uv.png", atlas)


def draw_landmarks(head: Head, out: Path) -> None:
    """Embedded points on the textured head, and the yaw-dependent jawline."""
    look, pictures = textured(head), []
    arrays = head.arrays
    for yaw in (0, -35, 35):
        view = View(size_hw=(640, 560), yaw_deg=yaw, centre=(0, 0, 0.04), px_per_m=2300)
        vertices = head.vertices()
        picture = np.ascontiguousarray(render(vertices, head.faces, view, **look)[0])
        for x, y, _ in view.project(
            head.points(vertices, arrays["landmark_face"].astype(int), arrays["landmark_bary"])
        ):
            cv2.circle(picture, (int(x * 8), int(y * 8)), 12, (0, 220, 0), -1, cv2.LINE_AA, 3)
        row = int(np.argmin(np.abs(arrays["contour_yaw_deg"].astype(int) - yaw)))
        contour = view.project(
            head.points(vertices, arrays["contour_face"][row].astype(int), arrays["contour_bary"][row].astype(float))
        )
        cv2.polylines(picture, [np.round(contour[:, :2]).astype(np.int32)], False, (255, 40, 40), 2, cv2.LINE_AA)
        pictures.append(picture)
    save(out / "landmarks.png", np.hstack(pictures))
