"""A knitted jumper with a ribbed collar: rings from the neck over the shoulders to below the picture."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .head_asset import Array, HeadAsset
from .skin import noise

NUM_AROUND = 160
COLLAR_RINGS, BODY_RINGS = 9, 46
COLLAR_FRONT_M, COLLAR_BACK_M = -0.122, -0.094
COLLAR_WIDTH_M = 0.019
CLEARANCE_M = 0.0045
CENTRE_Z_M = -0.022
"""Depth of the collar's axis in rest position."""


@dataclass(frozen=True, kw_only=True)
class Garment:
    """Rest-position surface; moves with the root joint."""

    vertices: Array
    faces: npt.NDArray[np.int64]
    coordinates: Array
    """(n, 3): metres around from the back, metres down from the collar's edge; 1 on the collar, else the height."""


def collar_height(angle: Array) -> Array:
    """Height of the collar's upper edge; angle 0 is the front, positive to the subject's left."""
    return COLLAR_FRONT_M + (COLLAR_BACK_M - COLLAR_FRONT_M) * (0.5 - 0.5 * np.cos(angle)) ** 0.8


def neck_section(rest: Array, neck: npt.NDArray[np.bool_], centre_z: float) -> Array:
    """Radius (NUM_AROUND,) of the neck under the collar's edge, measured around x = 0, z = centre_z."""
    angles = np.linspace(-np.pi, np.pi, NUM_AROUND)
    points = rest[neck]
    around = np.arctan2(points[:, 0], points[:, 2] - centre_z)
    radius = np.hypot(points[:, 0], points[:, 2] - centre_z)
    result = np.zeros(NUM_AROUND)
    for index, angle in enumerate(angles):
        gap = np.angle(np.exp(1j * (around - angle)))
        height = points[:, 1] - collar_height(angle)
        weight = np.exp(-((gap / 0.16) ** 2) - (height / 0.008) ** 2) + 1e-12
        result[index] = (weight * radius).sum() / weight.sum()
    kernel = np.hanning(9) / np.hanning(9).sum()
    return np.convolve(np.concatenate([result[-5:-1], result, result[1:5]]), kernel, "valid")


def make_garment(head: HeadAsset, rest: Array) -> Garment:
    """Fit the jumper to a person's rest vertices."""
    neck = head.regions["neck"]
    centre_z = CENTRE_Z_M
    angle = np.linspace(-np.pi, np.pi, NUM_AROUND)  # the seam is at the back
    neck_radius = neck_section(rest, neck, centre_z) + CLEARANCE_M
    rings, coordinates = [], []
    sine, cosine = np.sin(angle), np.cos(angle)
    for ring in range(COLLAR_RINGS):
        t = ring / (COLLAR_RINGS - 1)
        bulge = 0.0045 * np.sin(np.pi * min(t * 1.05, 1.0)) ** 0.6
        inside = 0.004 * max(0.0, 0.25 - t) / 0.25
        radius = neck_radius + bulge - inside + 0.012 * t
        height = collar_height(angle) - COLLAR_WIDTH_M * t + 0.002 * np.sin(np.pi * t)
        rings.append(np.stack([radius * sine, height, centre_z + radius * cosine], axis=1))
        coordinates.append(
            np.stack([angle * 0.065, np.full(NUM_AROUND, COLLAR_WIDTH_M * t), np.ones(NUM_AROUND)], axis=1)
        )
    start = rings[-1]
    for ring in range(1, BODY_RINGS):
        s = ring / (BODY_RINGS - 1)
        rings.append(body_ring(start, sine, cosine, s))
        down = COLLAR_WIDTH_M + np.linalg.norm(rings[-1] - start, axis=1)
        coordinates.append(np.stack([angle * 0.13, down, rings[-1][:, 1]], axis=1))
    vertices = np.concatenate(rings)
    body = np.concatenate(coordinates)[:, 2] < 0.5
    folds = 0.0040 * noise(vertices * np.array([1.0, 0.45, 1.0]), 0.045, 52) + 0.0022 * noise(vertices, 0.025, 53)
    reach = np.clip(np.concatenate(coordinates)[:, 1] / 0.08, 0, 1)
    outwards = vertices - np.array([0.0, -0.25, centre_z])
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    vertices = vertices + outwards * (folds * body * reach)[:, None]
    return Garment(vertices=vertices, faces=ring_faces(len(rings)), coordinates=np.concatenate(coordinates))


COLLAR_REACH_M = 0.012


def under_clothes(head: HeadAsset, rest: Array, reach_m: float = COLLAR_REACH_M) -> npt.NDArray[np.bool_]:
    """Head vertices that the jumper hides: well below the collar's edge, or outside it.

    At the shoulders that is up to `reach_m` above its edge, at front and back up to `COLLAR_REACH_M`.
    """
    neck = head.regions["neck"]
    around = np.arctan2(rest[:, 0], rest[:, 2] - CENTRE_Z_M)
    radius = np.hypot(rest[:, 0], rest[:, 2] - CENTRE_Z_M)
    angles = np.linspace(-np.pi, np.pi, NUM_AROUND)
    inside = np.interp(around, angles, neck_section(rest, neck, CENTRE_Z_M))
    edge = collar_height(around)
    reach = COLLAR_REACH_M + (reach_m - COLLAR_REACH_M) * np.sin(around) ** 2
    return neck & ((rest[:, 1] < edge - 0.012) | ((rest[:, 1] < edge + reach) & (radius > inside + 0.006)))


def body_ring(start: Array, sine: Array, cosine: Array, s: float) -> Array:
    """A ring at share s of the way from the collar over the shoulders down to the chest."""
    shoulder_x, chest_z, centre_z = 0.215, 0.105, -0.035
    slope = min(s / 0.55, 1.0)
    power = 0.72
    outer = np.stack(
        [
            shoulder_x * np.sign(sine) * np.abs(sine) ** power,
            -0.190 - 0.020 * cosine - 0.012 * np.abs(sine) ** 2.2,
            centre_z + chest_z * np.sign(cosine) * np.abs(cosine) ** power * (1 + 0.12 * cosine),
        ],
        axis=1,
    )
    rounded = np.array([slope**0.92, 0.30 * slope + 0.70 * slope**3.2, slope**0.92])
    ring = start + (outer - start) * rounded
    if s > 0.55:
        below = (s - 0.55) / 0.45
        ring = outer + np.array([0.0, -0.30 * below, 0.0])
        ring[:, 0] *= 1 + 0.06 * np.sin(np.pi * min(below * 2, 1.0) / 2)
        ring[:, 2] = centre_z + (ring[:, 2] - centre_z) * (1 + 0.18 * np.sin(np.pi * min(below * 1.5, 1.0) / 2))
    return ring


def ring_faces(num_rings: int) -> npt.NDArray[np.int64]:
    """Triangles between consecutive rings, counter-clockwise from outside."""
    ring, around = np.meshgrid(np.arange(num_rings - 1), np.arange(NUM_AROUND - 1), indexing="ij")
    a = ring * NUM_AROUND + around
    b = a + 1
    c, d = a + NUM_AROUND, b + NUM_AROUND
    return np.stack([a, c, b, b, c, d], axis=-1).reshape(-1, 3)
