"""Renumber faces and landmark embeddings when only some vertices are kept."""

import torch
from jaxtyping import Int
from torch import Tensor

from raytrack.head.landmarks import ContourEmbedding, LandmarkEmbedding


def kept_faces(
    faces: Int[Tensor, "faces 3"], vertex_indices: Int[Tensor, " kept"], num_vertices: int
) -> tuple[Int[Tensor, "kept_faces 3"], Int[Tensor, " faces"]]:
    """Faces whose corners are all kept.

    Returns:
        These faces in new vertex numbers, and the new index of each old face (−1: dropped).

    Raises:
        ValueError: A vertex is named twice.
    """
    renumbered = torch.full((num_vertices,), -1, dtype=torch.int64, device=faces.device)
    renumbered[vertex_indices] = torch.arange(len(vertex_indices), device=faces.device)
    if int((renumbered >= 0).sum()) != len(vertex_indices):
        raise ValueError("a subset names each vertex once")
    corners = renumbered[faces]
    is_kept = (corners >= 0).all(dim=1)
    face_index = torch.where(is_kept, is_kept.cumsum(0) - 1, torch.full_like(is_kept, -1, dtype=torch.int64))
    return corners[is_kept], face_index


def keep_embedding(embedding: LandmarkEmbedding, face_index: Int[Tensor, " faces"]) -> LandmarkEmbedding | None:
    """The same points in new face numbers; None if one of them lost its face."""
    faces = face_index[embedding.faces]
    return None if bool((faces < 0).any()) else LandmarkEmbedding(faces=faces, barycentric=embedding.barycentric)


def keep_contour(contour: ContourEmbedding, face_index: Int[Tensor, " faces"]) -> ContourEmbedding | None:
    """The same jawlines in new face numbers; None if one of the points lost its face."""
    faces = face_index[contour.faces]
    if bool((faces < 0).any()):
        return None
    return ContourEmbedding(yaw_deg=contour.yaw_deg, faces=faces, barycentric=contour.barycentric)


def keep_points(points: dict[str, int], vertex_indices: Int[Tensor, " kept"]) -> dict[str, int]:
    """The named vertices that are kept, in new vertex numbers."""
    place = {vertex: index for index, vertex in enumerate(vertex_indices.tolist())}
    return {name: place[vertex] for name, vertex in points.items() if vertex in place}
