"""Telling the person from the background, by several methods with one interface."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from raytrack.assets import asset_path
from raytrack.errors import ConfigError, InputError
from raytrack.media.images import list_images, read_mask
from raytrack.observe.config import PlateRefinement
from raytrack.observe.graph import load_graph
from raytrack.observe.guided_filter import guided_filter


@runtime_checkable
class Matter(Protocol):
    """Gives a foreground matte for each frame of a camera."""

    name: str
    """What the tables and the configuration call it."""
    warm_up_frames: int
    """Frames before a stretch of a clip that `track` wants to see first, so that its mattes are as in the whole clip;
    0 where each matte depends on its frame alone."""

    def alpha(
        self, image: UInt8[np.ndarray, "height width 3"], frame_id: str = ""
    ) -> UInt8[np.ndarray, "height width"]:
        """Matte of one RGB image: 255 where the person covers the pixel, 0 where nothing of the person does.

        Args:
            image: The frame.
            frame_id: What the frame is called, for methods that look its matte up.

        Raises:
            InputError: The footage lacks what the method needs.
        """
        ...

    def track(
        self, frames: Iterable[tuple[str, UInt8[np.ndarray, "height width 3"]]]
    ) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """Mattes of consecutive frames of one camera, each given as its id and its RGB image.

        Raises:
            InputError: The footage lacks what the method needs.
        """
        ...


class FrameMatter:
    """Base of the methods whose mattes depend on one frame each."""

    warm_up_frames = 0

    def alpha(
        self, image: UInt8[np.ndarray, "height width 3"], frame_id: str = ""
    ) -> UInt8[np.ndarray, "height width"]:
        """Matte of one RGB image."""
        raise NotImplementedError

    def track(
        self, frames: Iterable[tuple[str, UInt8[np.ndarray, "height width 3"]]]
    ) -> Iterator[UInt8[np.ndarray, "height width"]]:
        """Mattes of frames, each given as its id and its RGB image."""
        for frame_id, image in frames:
            yield self.alpha(image, frame_id)


class SelfieMatter(FrameMatter):
    """MediaPipe's selfie segmentation at 256 pixels, sharpened along the edges of the image.

    Args:
        device: Where the network runs, as torch names devices.
    """

    name = "selfie"

    _RADIUS = 3
    """Half width in network pixels of the windows in which edges are followed: about a strand of hair."""
    _BLACK, _WHITE = 0.15, 0.85
    """Levels taken as 0 and 1: they remove the faint veil that following edges leaves on either side of one."""

    def __init__(self, device: str = "cpu"):
        self._graph = load_graph(asset_path("selfie/selfie_segmentation.npz"), device)

    def alpha(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        frame_id: str = "",  # noqa: ARG002 (the protocol's)
    ) -> UInt8[np.ndarray, "height width"]:
        """Matte of one RGB image."""
        rows, columns, _ = self._graph.input_shape
        smaller = image.shape[0] > rows or image.shape[1] > columns
        resized = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        (coarse,) = self._graph(torch.from_numpy(resized)[None].float() / 255.0)
        matte = guided_filter(image, coarse[0, ..., 0].cpu().numpy(), radius=self._RADIUS)
        levelled = np.clip((matte - self._BLACK) / (self._WHITE - self._BLACK), 0.0, 1.0)
        return np.round(levelled * 255.0).astype(np.uint8)


class GivenMatter(FrameMatter):
    """Masks that the user made: one image per frame in a folder, white (or opaque) for the person.

    A mask belongs to the frame of the same name, or of the same number (`7.png` to frame 000007).

    Args:
        folder: Where the masks are.

    Raises:
        InputError: The folder cannot be read or has no image in it.
    """

    name = "given"

    def __init__(self, folder: Path):
        self._folder = folder
        paths = list_images(folder)
        self._by_number = {int(path.stem): path for path in paths if path.stem.isdecimal()}
        self._by_name = {path.stem: path for path in paths}

    def alpha(
        self, image: UInt8[np.ndarray, "height width 3"], frame_id: str = ""
    ) -> UInt8[np.ndarray, "height width"]:
        """Mask of the frame of this id, brought to the image's size.

        Raises:
            InputError: There is no mask for the frame, or it has another shape.
        """
        path = self._by_name.get(frame_id)
        if path is None and frame_id.isdecimal():
            path = self._by_number.get(int(frame_id))
        if path is None:
            raise InputError(f"{self._folder}: no mask for frame {frame_id!r}; add {frame_id}.png")
        mask = read_mask(path)
        if mask.shape == image.shape[:2]:
            return mask
        if abs(mask.shape[0] * image.shape[1] - mask.shape[1] * image.shape[0]) > max(*mask.shape, *image.shape[:2]):
            raise InputError(
                f"{path}: the mask is {mask.shape[1]}×{mask.shape[0]}, its frame {image.shape[1]}×{image.shape[0]} "
                "(width × height): make masks of the frames' shape"
            )
        smaller = mask.shape[0] > image.shape[0]
        return cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


class NoMatter(FrameMatter):
    """Takes everything for foreground."""

    name = "none"

    def alpha(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        frame_id: str = "",  # noqa: ARG002 (the protocol's)
    ) -> UInt8[np.ndarray, "height width"]:
        """A matte that is 255 everywhere."""
        return np.full(image.shape[:2], 255, np.uint8)


def resolve_matting_method(method: str, *, has_masks: bool, has_plate: bool = False) -> str:
    """The method that a configured one stands for.

    Args:
        method: As configured; `auto` takes the footage's own masks where there are some, else the clean plate, else
            `selfie`.
        has_masks: Whether the footage comes with masks or an alpha channel.
        has_plate: Whether it comes with a picture of the empty scene.

    Raises:
        ConfigError: There is no such method.
    """
    known = ("selfie", "rvm", "bgmv2", "plate", "given", "none")
    if method == "auto":
        return "given" if has_masks else "plate" if has_plate else "selfie"
    if method not in known:
        raise ConfigError(f"unknown matting method {method!r}; known: auto, {', '.join(known)}")
    return method


def make_matter(
    method: str,
    *,
    masks: Path | None = None,
    plate: Path | UInt8[np.ndarray, "height width 3"] | None = None,
    weights: str = "",
    refinement: PlateRefinement = "guided",
    device: str = "cpu",
) -> Matter:
    """Load a matting method.

    Args:
        method: A name, or `auto`.
        masks: The folder of masks, for `given`.
        plate: The picture of the empty scene or its file, for `plate` and `bgmv2`.
        weights: The file of weights, for `rvm` and `bgmv2`; by default the installed one.
        refinement: How `plate` refines its outlines.
        device: Where a network runs, as torch names devices.

    Raises:
        ConfigError: There is no such method, or it lacks its masks or its plate.
        InputError: The masks or the plate cannot be read.
        AssetError: A network's weights are missing or damaged, or an optional package is missing.
    """
    resolved = resolve_matting_method(method, has_masks=masks is not None, has_plate=plate is not None)
    if resolved == "selfie":
        return SelfieMatter(device)
    if resolved == "none":
        return NoMatter()
    if resolved == "given":
        if masks is None:
            raise ConfigError("matting 'given' needs masks: name their folder, or give footage with an alpha channel")
        return GivenMatter(masks)
    # What the other methods need is loaded on first use.
    if resolved == "rvm":
        from raytrack.observe.rvm import RecurrentMatter  # noqa: PLC0415

        return RecurrentMatter(weights, device)
    if plate is None:
        raise ConfigError(f"matting {resolved!r} needs a picture of the empty scene: name it as `plate`")
    if resolved == "bgmv2":
        from raytrack.observe.bgmv2 import BackgroundMatter  # noqa: PLC0415

        return BackgroundMatter(plate, weights, device)
    from raytrack.observe.plate import PlateMatter  # noqa: PLC0415

    return PlateMatter(plate, refinement)
