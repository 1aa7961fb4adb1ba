"""A talking head whose truth is known, filmed by several cameras: as monocular videos, or as NeRSemble v1 or v2.

The head is drawn through pinhole cameras, and then spoilt as a real rig does it: bent by each camera's lens, and its
colours mixed by the inverse of each camera's colour correction. What is read back right has had each undone once.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from nersemble_files import camera_params, make_v1, make_v2, write_jpeg

from raytrack.geometry.camera import Camera, monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from raytrack.media.colour import linear_from_srgb, srgb_from_linear
from raytrack.render.protocol import Topology
from raytrack.render.registry import make_renderer

SUBJECT = "074"
SEQUENCES = ("EMO-1-shout+laugh", "EXP-2-eyes")
NUM_FRAMES = 5
FOOTAGE_HW = (480, 352)
CALIBRATED_HW = (960, 704)
"""Of the pictures that the intrinsics are of."""
CENTRE_M = torch.tensor([0.0, 0.02, 0.0])
"""Where the face is in the rig's world, about."""


@dataclass(frozen=True, kw_only=True)
class Lens:
    """One camera of the rig."""

    yaw_deg: float
    pitch_deg: float
    focal_px: float
    """At calibrated size."""
    centre_px: tuple[float, float]
    """Principal point, off the middle."""
    distortion: tuple[float, ...]


# Two of NeRSemble's rig, the frontal one and its neighbours, so that places are those of the real rig.
LENSES = {
    "222200041": Lens(yaw_deg=-24, pitch_deg=4, focal_px=2250, centre_px=(10, -16), distortion=(-1.6, 1.0, 0, 0, 0)),
    "222200037": Lens(yaw_deg=0, pitch_deg=-6, focal_px=2350, centre_px=(-14, 6), distortion=(0,) * 5),
    "222200038": Lens(yaw_deg=14, pitch_deg=10, focal_px=2150, centre_px=(4, 12), distortion=(1.2, 0, 0.004, 0, 0)),
    "222200047": Lens(yaw_deg=30, pitch_deg=-2, focal_px=2300, centre_px=(18, 2), distortion=(0,) * 5),
}
# The dataset's own world is turned against the tracker's: y down, and tilted a little.
CAPTURE_FROM_HEAD = cv2.Rodrigues(np.array([np.pi - 0.06, 0.0, 0.0]))[0] @ cv2.Rodrigues(np.array([0, 0.1, 0.05]))[0]


def intrinsics(lens: Lens) -> np.ndarray:
    """At calibrated size."""
    across, down = CALIBRATED_HW[1] / 2 + lens.centre_px[0], CALIBRATED_HW[0] / 2 + lens.centre_px[1]
    return np.array([[lens.focal_px, 0, across], [0, lens.focal_px * 1.02, down], [0, 0, 1.0]])


def cam_from_head_world(lens: Lens) -> np.ndarray:
    """4×4, OpenCV axes: a camera 1 m from the face, looking at it."""
    turn = cv2.Rodrigues(np.array([0.0, np.deg2rad(lens.yaw_deg), 0.0]))[0]
    tilt = cv2.Rodrigues(np.array([np.deg2rad(-lens.pitch_deg), 0.0, 0.0]))[0]
    world_from_gl = turn @ tilt
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ world_from_gl.T
    matrix[:3, 3] = -matrix[:3, :3] @ (CENTRE_M.numpy() + world_from_gl[:, 2])
    return matrix


def world_2_cam(lens: Lens) -> np.ndarray:
    """As the dataset states it."""
    matrix = cam_from_head_world(lens)
    matrix[:3, :3] = matrix[:3, :3] @ CAPTURE_FROM_HEAD.T
    return matrix


def colour_matrix(camera: str) -> np.ndarray:
    """A correction with gains, cross talk and (in v1) an offset; another for each camera."""
    gain = 0.9 + 0.05 * list(LENSES).index(camera)
    return np.array([[gain, 0.05, 0.0, 0.04], [0.06, 0.85, -0.03, 0.02], [-0.05, 0.0, 1.35 - 0.3 * gain, 0.06]])


@functools.cache
def head():
    return load_head("default")


@functools.cache
def truth(sequence: str) -> torch.Tensor:
    """World vertices (frames, vertices, 3) of a sequence, in the world in which the head was posed."""
    model, phase = head(), torch.linspace(0, 1, NUM_FRAMES)
    sign = 1.0 if sequence == SEQUENCES[0] else -1.0
    expression = torch.zeros(NUM_FRAMES, model.num_expressions)
    for side in ("Left", "Right"):
        expression[:, model.expression_names.index(f"mouthSmile{side}")] = 0.6 * (phase if sign > 0 else 1 - phase)
        expression[:, model.expression_names.index(f"browDown{side}")] = 0.4 * phase if sign < 0 else 0.0
    parameters = dataclasses.replace(
        FrameParameters.zeros(NUM_FRAMES, model.num_expressions),
        expression=expression,
        rotation=torch.stack([0.08 * phase, sign * 0.25 * (phase - 0.4), 0.05 * phase], dim=1),
        jaw_pose=torch.stack([0.2 * phase, 0 * phase, 0 * phase], dim=1),
        translation=CENTRE_M + torch.tensor([0.004, 0.0, 0.0]) * phase[:, None],
    )
    shape = torch.zeros(model.num_shapes)
    shape[:6] = torch.tensor([0.8, -0.6, 0.5, 0.7, -0.4, 0.3])
    vertices = model.vertices(parameters, shape)
    # The model's origin is not its face: bring that to where the cameras look.
    middle = model.template[model.region("face")].mean(dim=0)
    return vertices - middle


@functools.cache
def _renderer():
    parts = head().topology()
    return make_renderer(
        "numba",
        Topology(faces=parts.faces, uv=parts.uv, uv_faces=parts.uv_faces, num_vertices=parts.num_vertices),
        num_threads=1,
    )


def room(camera: str, size_hw: tuple[int, int]) -> np.ndarray:
    """What stands behind the head: smooth, bluish, another for each camera."""
    noise = np.random.default_rng(int(camera[-3:])).uniform(0.25, 0.5, (6, 5, 3)) * [0.7, 0.9, 1.3]
    return cv2.resize(noise.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_CUBIC).clip(0.15, 0.7)


def drawn(camera: Camera, vertices: torch.Tensor, behind: np.ndarray) -> np.ndarray:
    """The head as a pinhole camera sees it, uint8 RGB."""
    renderer, light = _renderer(), white_light()
    light[3], light[1] = torch.tensor([0.5, 0.4, 0.3]), 0.4
    clip = camera.clip(vertices[None])
    albedo = 0.5 * head().albedo + 0.12
    image, fragments = renderer.shade(
        clip, renderer.vertex_normals(vertices[None]), albedo, light[None], torch.from_numpy(behind)[None]
    )
    image = renderer.antialias(image, clip, fragments)
    return (image[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def pinhole(lens: Lens, size_hw: tuple[int, int]) -> Camera:
    """The camera without its lens's distortion, in the world in which the head was posed."""
    camera = Camera(
        intrinsics=torch.from_numpy(intrinsics(lens)).float(),
        cam_from_world=torch.from_numpy(cam_from_head_world(lens)[:3]).float(),
        size_hw=CALIBRATED_HW,
    )
    return camera.scaled(size_hw)


@functools.cache
def clean_picture(camera: str, sequence: str, frame: int) -> np.ndarray:
    """What the camera would have recorded without lens distortion and with right colours, at footage size."""
    view = pinhole(LENSES[camera], FOOTAGE_HW)
    return drawn(view, truth(sequence)[frame], room(camera, FOOTAGE_HW))


def coverage(camera: str, sequence: str, frame: int) -> np.ndarray:
    """Where the head is in the clean picture: 255, and 0 elsewhere."""
    view, vertices = pinhole(LENSES[camera], FOOTAGE_HW), truth(sequence)[frame]
    clip = view.clip(vertices[None])
    behind = torch.zeros(1, *FOOTAGE_HW, 3)
    _, fragments = _renderer().shade(
        clip, _renderer().vertex_normals(vertices[None]), head().albedo, white_light()[None], behind
    )
    return (255 * fragments.coverage[0]).to(torch.uint8).numpy()


def bent(image: np.ndarray, lens: Lens) -> np.ndarray:
    """A pinhole picture as the camera's lens distorts it."""
    if not any(lens.distortion):
        return image
    height, width = image.shape[:2]
    scale = np.diag([width / CALIBRATED_HW[1], height / CALIBRATED_HW[0], 1.0])
    matrix = scale @ intrinsics(lens)
    down, across = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([across, down], axis=-1).reshape(-1, 1, 2)
    straight = cv2.undistortPoints(pixels, matrix, np.array(lens.distortion, float), P=matrix).reshape(height, width, 2)
    maps = (straight - 0.5).astype(np.float32)
    return cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def spoilt_colours(image: np.ndarray, camera: str, kind: str, *, check: bool = True) -> np.ndarray:
    """The colours that the correction of a camera turns into those of the image."""
    matrix, colours = colour_matrix(camera), image.astype(np.float64) / 255
    if kind == "nersemble-v1":
        raw = (colours - matrix[:, 3]) @ np.linalg.inv(matrix[:, :3])
    else:
        raw = srgb_from_linear(linear_from_srgb(colours) @ np.linalg.inv(matrix[:, :3]).T)
    assert not check or -0.02 < raw.min() < raw.max() < 1.02, (raw.min(), raw.max())
    return np.round(255 * raw.clip(0, 1)).astype(np.uint8)


def raw_picture(camera: str, sequence: str, frame: int, kind: str) -> np.ndarray:
    """What the camera recorded."""
    return spoilt_colours(bent(clean_picture(camera, sequence, frame), LENSES[camera]), camera, kind)


def write_nersemble(root: Path, kind: str, *, subject: str = SUBJECT, cameras: tuple[str, ...] = tuple(LENSES)) -> Path:
    """A dataset of two sequences of one subject: v1 as videos and as single pictures, with clean plates."""
    lenses = {name: LENSES[name] for name in cameras}
    height, width = CALIBRATED_HW
    params = camera_params(
        {name: world_2_cam(lens) for name, lens in lenses.items()},
        {name: intrinsics(lens) for name, lens in lenses.items()},
        distortion={name: list(lens.distortion) for name, lens in lenses.items()},
        width=width,
        height=height,
    )
    matrices = {name: colour_matrix(name) for name in cameras}
    for sequence in SEQUENCES:

        def paint(camera: str, timestep: int, sequence=sequence) -> np.ndarray:
            return raw_picture(camera, sequence, timestep, kind)

        common = {"subject": subject, "sequence": sequence, "timesteps": tuple(range(NUM_FRAMES))}
        if kind == "nersemble-v1":
            # As in a 4×4 affine matrix that is multiplied from the right, with its offset in the last column.
            colours = {
                name: np.vstack([np.column_stack([m[:, :3], m[:, 3]]), [0, 0, 0, 1]]) for name, m in matrices.items()
            }
            make_v1(root, params, paint, **common, videos=sequence == SEQUENCES[0], colours=colours)
        else:
            make_v2(root, params, paint, **common, colours={name: m[:, :3] for name, m in matrices.items()})
    if kind == "nersemble-v1":
        for camera, lens in lenses.items():
            behind = np.round(255 * room(camera, FOOTAGE_HW)).astype(np.uint8)
            plate = spoilt_colours(bent(behind, lens), camera, kind)
            write_jpeg(root / subject / "BACKGROUND" / f"image_{camera}.jpg", plate)
    return root


def write_videos(folder: Path, size_hw: tuple[int, int] = (320, 256), focal_ratio: float = 1.6) -> list[Path]:
    """One monocular video for each sequence."""
    from raytrack.media.encode import write_video

    camera = monocular_camera(torch.tensor(focal_ratio * max(size_hw)), size_hw)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for sequence in SEQUENCES:
        # The camera stands 1 m from the origin; the head comes nearer.
        frames = [
            drawn(camera, vertices + torch.tensor([0.0, 0.0, 0.25]), room("222200037", size_hw))
            for vertices in truth(sequence)
        ]
        paths.append(folder / f"{sequence.split('-')[0].lower()}.mp4")
        write_video(paths[-1], frames, 25)
    return paths
