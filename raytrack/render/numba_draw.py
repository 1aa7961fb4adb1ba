"""What the numba back end keeps of one rasterization."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raytrack.render import kernels_antialias, kernels_raster
from raytrack.render.workers import Workers

NUM_CHUNKS = 8
"""Chunks of work in one call, at least: enough for a few threads, few enough that summing them costs little."""


@dataclass(frozen=True, kw_only=True)
class MeshArrays:
    """A topology as the kernels take it."""

    faces: np.ndarray
    neighbours: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    face_uv: np.ndarray
    """For each face the texture coordinates of its third corner, and of the first and second less those; flat."""


@dataclass(kw_only=True)
class Draw:
    """One rasterization: what later operations and the backward pass need of it. Its arrays belong to it alone."""

    mesh: MeshArrays
    workers: Workers
    clip: np.ndarray
    size_hw: tuple[int, int]
    cull_backfaces: bool
    screen: np.ndarray
    orientation: np.ndarray
    depth: np.ndarray
    face_index: np.ndarray
    barycentric: np.ndarray
    _edges: np.ndarray | None = field(default=None, repr=False)

    @property
    def bands(self) -> int:
        """Chunks in one frame."""
        return bands_per_frame(len(self.clip))

    @property
    def num_chunks(self) -> int:
        """Chunks in all frames."""
        return len(self.clip) * self.bands

    def edges(self) -> np.ndarray:
        """Silhouette edges, rows of `kernels_antialias.find_edges`; found on first use."""
        if self._edges is None:
            sides = -1 if self.cull_backfaces else 1
            mesh, bands = self.mesh, self.bands
            outlines: list[Any] = [None] * len(self.clip)
            found: list[Any] = [None] * self.num_chunks

            def outline(first: int, last: int) -> None:
                for frame in range(first, last):
                    outlines[frame] = kernels_antialias.outline_edges(
                        mesh.faces, self.orientation, mesh.neighbours, sides, frame
                    )

            def find(first: int, last: int) -> None:
                for chunk in range(first, last):
                    found[chunk] = kernels_antialias.find_edges(
                        self.screen,
                        mesh.faces,
                        self.orientation,
                        mesh.neighbours,
                        outlines[chunk // bands],
                        self.depth,
                        self.face_index,
                        bands,
                        chunk,
                    )

            self.workers.run(outline, len(self.clip))
            self.workers.run(find, self.num_chunks)
            self._edges = np.concatenate(found)
        return self._edges

    def sum_chunks(self, parts: np.ndarray, *, per_frame: bool = True) -> Tensor:
        """Sum what chunks computed, in a fixed order, for each frame or for all of them together."""
        if per_frame:
            parts = parts.reshape(len(self.clip), self.bands, *parts.shape[1:])
            return torch.from_numpy(parts.sum(axis=1) if self.bands > 1 else parts[:, 0])
        return torch.from_numpy(parts.sum(axis=0, keepdims=True))


def bands_per_frame(num_frames: int) -> int:
    """Chunks in one of so many frames."""
    return max(1, -(-NUM_CHUNKS // max(num_frames, 1)))


def draw(
    mesh: MeshArrays, workers: Workers, clip: np.ndarray, size_hw: tuple[int, int], *, cull_backfaces: bool
) -> Draw:
    """Rasterize."""
    frames, vertices, dtype = len(clip), clip.shape[1], clip.dtype
    height, width = size_hw
    num_faces = len(mesh.faces)
    screen = np.empty((frames, vertices, 3), dtype)
    orientation = np.empty((frames, num_faces), np.int8)
    bounds = np.empty((frames, num_faces, 4), np.int32)
    drawn = np.empty((frames, num_faces), np.int32)
    num_drawn = np.empty(frames, np.int32)
    depth = np.empty((frames, height, width), dtype)
    face_index = np.empty((frames, height, width), np.int32)
    barycentric = np.empty((frames, height, width, 2), dtype)

    def prepare(first: int, last: int) -> None:
        kernels_raster.prepare_frames(
            clip,
            mesh.faces,
            cull_backfaces,
            height,
            width,
            screen,
            orientation,
            bounds,
            drawn,
            num_drawn,
            first,
            last,
        )

    bands = bands_per_frame(frames)

    def rasterize(first: int, last: int) -> None:
        kernels_raster.rasterize_chunks(
            clip, mesh.faces, screen, bounds, drawn, num_drawn, bands, depth, face_index, barycentric, first, last
        )

    workers.run(prepare, frames)
    workers.run(rasterize, frames * bands)
    return Draw(
        mesh=mesh,
        workers=workers,
        clip=clip,
        size_hw=size_hw,
        cull_backfaces=cull_backfaces,
        screen=screen,
        orientation=orientation,
        depth=depth,
        face_index=face_index,
        barycentric=barycentric,
    )


def as_array(tensor: Tensor) -> np.ndarray:
    """Contiguous numpy view (or copy) of a CPU tensor."""
    return tensor.detach().contiguous().numpy()
