"""The terms of VHAP's objective, before their weights (Qian, 2024).

Pure functions. "Mean" is over everything that a term is given: frames, points, coordinates, texels.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from raytrack.geometry.rotation import matrix_from_axis_angle
from raytrack.render.shading import diffuse

NUM_IBUG, NUM_JAWLINE = 68, 17
NOSE_POINTS = slice(27, 36)
"""The iBUG points along and under the nose, which tell a head's turn from a shift."""
NOSE_WEIGHT = 10.0
JAW_CLOSING, JAW_SIDEWAYS = 10.0, 3.0


def ndc_from_px(points_px: Float[Tensor, "*batch 2"], size_hw: tuple[int, int]) -> Float[Tensor, "*batch 2"]:
    """Image positions with −1 at the left and top edges and 1 at the right and bottom ones. Differentiable."""
    height, width = size_hw
    x, y = points_px.unbind(dim=-1)
    return torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)


def landmark_term(
    predicted_ndc: Float[Tensor, "pictures 68 2"],
    detected_ndc: Float[Tensor, "pictures 68 2"],
    confidence: Float[Tensor, " pictures"] | None = None,
    *,
    jawline: bool = True,
) -> Float[Tensor, ""]:
    """Mean over points of the L1 distance; points of the nose count ten times.

    Args:
        predicted_ndc: Of the head.
        detected_ndc: Anything finite where the confidence is 0.
        confidence: Factor per picture, 0 where it shows no face; by default 1.
        jawline: Without it, the mean is over the other points, and the nose counts as they do.
    """
    distance = (predicted_ndc - detected_ndc).abs().sum(dim=-1)
    if confidence is not None:
        distance = distance * confidence[:, None]
    if not jawline:
        return distance[:, NUM_JAWLINE:].mean()
    weight = torch.ones(NUM_IBUG, dtype=distance.dtype, device=distance.device)
    weight[NOSE_POINTS] = NOSE_WEIGHT
    return (distance * weight).mean()


def photo_term(
    image: Float[Tensor, "frames height width 3"],
    target: Float[Tensor, "frames height width 3"],
    coverage: Float[Tensor, "frames height width"],
) -> Float[Tensor, ""]:
    """Absolute error of the whole image, per channel of a covered pixel.

    Args:
        image: Perturbed and antialiased render over the target.
        target: The picture.
        coverage: Antialiased coverage; a pixel counts as covered where it is above 0.
    """
    covered = (coverage > 0).sum().clamp_min(1)
    return (image - target).abs().sum() / (3 * covered)


def rotation_term(axis_angle: Float[Tensor, "frames 3"]) -> Float[Tensor, ""]:
    """Mean squared difference of rotation matrices to the identity, times B / (2 B − 1) for B frames."""
    frames = len(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return (matrix_from_axis_angle(axis_angle) - identity).square().mean() * (frames / (2 * frames - 1))


def jaw_term(jaw_pose: Float[Tensor, "frames 3"]) -> Float[Tensor, ""]:
    """`rotation_term`; the jaw does not close beyond rest, and hardly moves sideways."""
    closing = torch.relu(-jaw_pose[:, 0]).mean()
    sideways = jaw_pose[:, 1:].square().mean()
    return rotation_term(jaw_pose) + JAW_CLOSING * closing + JAW_SIDEWAYS * sideways


def eyes_term(eyes_pose: Float[Tensor, "frames 6"]) -> Float[Tensor, ""]:
    """Over both eyes: `rotation_term` plus the mean squared difference of the two (which so counts twice)."""
    left, right = eyes_pose[:, :3], eyes_pose[:, 3:]
    return rotation_term(left) + rotation_term(right) + 2 * (left - right).square().mean()


def texture_variation_term(texture: Float[Tensor, "size size 3"]) -> Float[Tensor, ""]:
    """Mean squared difference of a texel to its right neighbour, plus that to its lower one."""
    across = (texture[:, 1:] - texture[:, :-1]).square().mean()
    return across + (texture[1:] - texture[:-1]).square().mean()


def texture_residual_term(
    texture: Float[Tensor, "size size 3"], base: Float[Tensor, "size size 3"], mask: Bool[Tensor, "size size"]
) -> Float[Tensor, ""]:
    """Squared change of the masked texels from the head's own albedo; the mean is over the whole map."""
    return ((texture - base).square() * mask[..., None]).mean()


def diffuse_term(
    normals: Float[Tensor, "frames height width 3"],
    coverage: Bool[Tensor, "frames height width"],
    light: Float[Tensor, "9 3"],
) -> Float[Tensor, ""]:
    """Light that is neither brighter than 1 nor coloured.

    Excess of the brightest rendered channel over 1, plus the mean over covered pixels of the variance over the channels
    (unbiased). Differentiable in the light; normals carry no gradient.
    """
    shaded = diffuse(normals.detach(), light[None]) * coverage[..., None]
    difference = shaded - shaded.mean(dim=-1, keepdim=True)  # Many times faster than torch.var of so few numbers.
    variance = difference.square().sum() / (2 * coverage.sum().clamp_min(1))
    return torch.relu(shaded.max() - 1) + variance


def offset_laplacian_term(
    offset: Float[Tensor, "vertices 3"], laplacian: Tensor, weight: Float[Tensor, " vertices"]
) -> Float[Tensor, ""]:
    """Mean over vertices of the weighted squared norm of the offset's Laplacian.

    Args:
        offset: Metres.
        laplacian: Sparse (vertices, vertices), see `raytrack.geometry.mesh.uniform_laplacian`. Its product with the
            offset is what the difference of Laplacians with and without offset comes to.
        weight: Factor per vertex.
    """
    return (torch.sparse.mm(laplacian, offset).square().sum(dim=-1) * weight).mean()


def offset_rigidity_term(offset: Float[Tensor, "vertices 3"], regions: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """Sum over regions of the variance (unbiased, mean over x, y, z) of the offsets inside.

    Args:
        offset: Metres.
        regions: Vertex indices of each region, two or more.
    """
    total = offset.new_zeros(())
    for vertices in regions:
        total = total + offset.index_select(0, vertices).var(dim=0).mean()
    return total


def smooth_term(
    rows: Float[Tensor, "frames columns"],
    previous: Float[Tensor, "frames columns"],
    column_weights: Float[Tensor, " columns"],
) -> Float[Tensor, ""]:
    """Weighted squared difference to the previous timestep, which carries no gradient.

    Args:
        rows: Parameters of the frames.
        previous: Those of the frames before; a first frame is its own predecessor.
        column_weights: A block's weight over its width, so that the weight multiplies a mean.
    """
    return ((rows - previous.detach()).square() * column_weights).sum(dim=1).mean()
