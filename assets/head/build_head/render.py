"""Small numba z-buffer with a texture, for pictures and for the landmark embedding. Not the tracker's renderer."""

from dataclasses import dataclass

import numba
import numpy as np

from .head_map import vertex_normals

SUN = np.array([0.30, 0.42, 0.86]) / np.linalg.norm([0.30, 0.42, 0.86])
SKY = np.array([-0.6, 0.5, 0.4]) / np.linalg.norm([-0.6, 0.5, 0.4])


@numba.njit(cache=True)
def rasterize(points, faces, height, width):
    """Nearest face and barycentrics per pixel of points (x px, y px, depth towards the viewer)."""
    depth = np.full((height, width), -1e9)
    index = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 3), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f]
        x0, y0, x1, y1, x2, y2 = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-12:
            continue
        for y in range(max(int(min(y0, y1, y2)), 0), min(int(max(y0, y1, y2)) + 2, height)):
            for x in range(max(int(min(x0, x1, x2)), 0), min(int(max(x0, x1, x2)) + 2, width)):
                px, py = x + 0.5, y + 0.5
                u = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) / area
                v = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) / area
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                z = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]
                if z > depth[y, x]:
                    depth[y, x] = z
                    index[y, x] = f
                    weights[y, x, 0], weights[y, x, 1], weights[y, x, 2] = u, v, w
    return depth, index, weights


@dataclass(frozen=True, kw_only=True)
class View:
    """Weak perspective view: the viewer sits `distance_m` in front of `centre` on +z."""

    size_hw: tuple[int, int] = (512, 512)
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    px_per_m: float = 1700.0
    distance_m: float = 0.9

    @property
    def rotation(self) -> np.ndarray:
        """World to view: yaw about y, then pitch about x, then roll about z."""
        a, b, c = np.radians([self.yaw_deg, self.pitch_deg, self.roll_deg])
        yaw = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        pitch = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        roll = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        return roll @ pitch @ yaw

    def project(self, points: np.ndarray) -> np.ndarray:
        """(…, 3): x px, y px (down), depth towards the viewer in metres."""
        local = (points - np.array(self.centre)) @ self.rotation.T
        scale = self.px_per_m * self.distance_m / (self.distance_m - local[..., 2:])
        height, width = self.size_hw
        return np.concatenate(
            [width / 2 + local[..., :1] * scale, height / 2 - local[..., 1:2] * scale, local[..., 2:]], axis=-1
        )


def sample_texture(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear colours (n, 3) at uv (v up)."""
    height, width = texture.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1.001)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1.001)
    i, j = y.astype(int), x.astype(int)
    fy, fx = (y - i)[:, None], (x - j)[:, None]
    top = texture[i, j] * (1 - fx) + texture[i, j + 1] * fx
    return top * (1 - fy) + (texture[i + 1, j] * (1 - fx) + texture[i + 1, j + 1] * fx) * fy


def render(vertices, faces, view: View, *, texture=None, uv=None, uv_faces=None, face_colours=None, background=0.92):
    """Lit picture (h, w, 3) uint8 RGB, face index and barycentrics per pixel."""
    _, index, weights = rasterize(view.project(vertices), faces.astype(np.int64), *view.size_hw)
    covered = index >= 0
    face, bary = index[covered], weights[covered]
    if texture is not None:
        colours = sample_texture(texture, np.einsum("nk,nkc->nc", bary, uv[uv_faces[face]]))
    else:
        colours = face_colours[face] if face_colours is not None else np.full((len(face), 3), 0.7)
    normals = np.einsum("nk,nkc->nc", bary, vertex_normals(vertices, faces)[faces[face]]) @ view.rotation.T
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    light = 0.42 + 0.62 * np.clip(normals @ SUN, 0, 1) + 0.16 * np.clip(normals @ SKY, 0, 1)
    light = np.where(normals[:, 2] < 0, light * 0.35, light)
    image = np.full((*view.size_hw, 3), background * 255.0)
    image[covered] = np.clip(colours * light[:, None], 0, 1) * 255
    return image.astype(np.uint8), index, weights


def supersampled(vertices, faces, view: View, factor: int = 2, **options) -> np.ndarray:
    """Anti-aliased picture: rendered `factor` times larger and averaged down."""
    height, width = view.size_hw
    large = View(
        size_hw=(height * factor, width * factor),
        yaw_deg=view.yaw_deg,
        pitch_deg=view.pitch_deg,
        roll_deg=view.roll_deg,
        centre=view.centre,
        px_per_m=view.px_per_m * factor,
        distance_m=view.distance_m,
    )
    image = render(vertices, faces, large, **options)[0]
    return image.reshape(height, factor, width, factor, 3).mean(axis=(1, 3)).astype(np.uint8)
