"""Kernels of the region perturbation on the CPU."""

import numpy as np

from raytrack.render.jit import exact_kernel


@exact_kernel
def choose_sources(regions, num_regions, chance, probabilities, sources):
    """For each pixel the one to take its colour from: itself, or a random one of its region.

    Args:
        regions: Region of each pixel, all below `num_regions`.
        num_regions: How many there are.
        chance: Uniform in [0, 1) for each pixel.
        probabilities: That a pixel is replaced, for each region.
        sources: Filled.
    """
    real = chance.dtype.type
    starts = np.zeros(num_regions + 1, np.int64)
    for pixel in range(regions.shape[0]):
        starts[regions[pixel] + 1] += 1
    for region in range(num_regions):
        starts[region + 1] += starts[region]
    ends = starts[:-1].copy()
    by_region = np.empty(regions.shape[0], np.int64)
    for pixel in range(regions.shape[0]):
        region = regions[pixel]
        by_region[ends[region]] = pixel
        ends[region] += 1
    for pixel in range(regions.shape[0]):
        region = regions[pixel]
        limit = probabilities[region]
        sources[pixel] = pixel
        if chance[pixel] < limit:
            count = starts[region + 1] - starts[region]
            rank = int(chance[pixel] / max(limit, real(1e-12)) * real(count))
            sources[pixel] = by_region[starts[region] + min(rank, count - 1)]


@exact_kernel
def pixel_regions(face_index, region_of_face, num_regions, regions):
    """Region of each pixel: that of its face, `num_regions` for background, one more for faces in none."""
    for pixel in range(face_index.shape[0]):
        face = face_index[pixel]
        region = num_regions if face < 0 else region_of_face[face]
        regions[pixel] = num_regions + 1 if region < 0 else region


@exact_kernel
def gather_pixels(image, sources, result):
    """The colours of `sources`."""
    for pixel in range(image.shape[0]):
        for channel in range(image.shape[1]):
            result[pixel, channel] = image[sources[pixel], channel]


@exact_kernel
def keep_own_gradient(grad, sources, result):
    """The gradient of the pixels that kept their own colour."""
    zero = grad.dtype.type(0)
    for pixel in range(grad.shape[0]):
        own = sources[pixel] == pixel
        for channel in range(grad.shape[1]):
            result[pixel, channel] = grad[pixel, channel] if own else zero
