"""Renders a clip of the suite with the demo's ray tracer, and writes down what was rendered."""

import functools
import hashlib
import logging
import tempfile
from pathlib import Path

import numpy as np

from assets.demo.build_demo import film, scene, shading
from assets.demo.build_demo.clothes import under_clothes
from assets.demo.build_demo.head_asset import HeadAsset, load_head
from assets.demo.build_demo.performance import FRAMES_PER_SECOND, Performance, perform
from assets.demo.build_demo.person import Person, make_person
from assets.demo.build_demo.plate import render_room
from assets.demo.build_demo.skin import SkinMaps, make_skin_maps
from assets.demo.build_demo.stage import Looks, Stage, assemble, make_stage, trace
from assets.demo.build_demo.truth import measured_vertices
from benchmarks.accuracy.cameras import FilmCamera, mono_camera, rig_cameras
from benchmarks.accuracy.cast import CAST, LIGHTS
from benchmarks.accuracy.props import make_props
from benchmarks.accuracy.scripts import make_script
from benchmarks.accuracy.suite import HEAD, LABELS, ClipSpec, tracer_digest

logger = logging.getLogger(__name__)
_QUALITY = 14
"""x264's constant rate factor; small pictures need a good one."""
_PLATE_GRID = 5
_COLLAR_REACH_M = 0.035


def film_clip(spec: ClipSpec, folder: Path, plates: Path, *, num_threads: int = 1) -> None:
    """Render a clip.

    Args:
        spec: What to render.
        folder: Where videos and truth go; must exist.
        plates: Folder of pictures of the empty room, which clips share; made where it is missing.
        num_threads: Of the tracer; the pictures do not depend on it.
    """
    head = load_head(HEAD)
    person = make_person(head, spec.member.traits)
    num_frames = max(spec.frames) + 1
    performance = perform(head, make_script(spec.member.script_seed, spec.member.turn_deg, num_frames))
    light = LIGHTS[spec.member.light]
    looks = Looks(
        hair=spec.member.hair, palette=spec.member.palette, lamps=light.lamps, sky=light.sky,
        props=make_props(spec.member.prop, person, num_frames), collar_reach_m=_COLLAR_REACH_M,
    )  # fmt: skip
    stage = make_stage(person, performance, _skin_maps(spec.member.name), num_threads, looks)
    cameras = rig_cameras() if spec.kind == "rig" else (mono_camera(spec.member.focal_ratio),)
    labels = np.zeros((len(cameras), len(spec.frames), spec.size_px, spec.size_px), np.uint8)
    sky = np.array(light.sky, np.float32)
    plates_seen = [_plate(stage, camera, spec.size_px, plates) * sky for camera in cameras]
    pictures: list[list[np.ndarray]] = [[] for _ in cameras]
    for index, frame in enumerate(spec.frames):
        lit = None
        for number, (camera, plate) in enumerate(zip(cameras, plates_seen, strict=True)):
            lit = assemble(stage, frame, camera.view, lit)
            seed = 1 + frame + 97 * number
            picture, labels[number, index] = _film_frame(stage, lit, camera, plate, spec, seed)
            pictures[number].append(picture)
        if index % 10 == 9 or spec.kind == "rig":
            logger.info("%s: frame %d of %d", spec.name, index + 1, len(spec.frames))
    for camera, shot in zip(cameras, pictures, strict=True):
        film.write_clip(folder / f"cam_{camera.id}.mp4", shot, FRAMES_PER_SECOND, _QUALITY)
    stage.pool.shutdown()
    _write_truth(folder / "truth.npz", spec, person, performance, cameras, labels)


@functools.lru_cache(maxsize=1)
def _skin_maps(name: str) -> SkinMaps:
    """The painted skin of a person of the cast: takes as long as ten frames."""
    (member,) = (member for member in CAST if member.name == name)
    return make_skin_maps(load_head(HEAD), member.complexion)


def _film_frame(
    stage: Stage, assembled: scene.Frame, camera: FilmCamera, plate: np.ndarray, spec: ClipSpec, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The developed picture, and what is seen at its pixels' centres."""
    focal = camera.focal_ratio * spec.size_px
    traced = trace(stage, assembled, plate, focal, spec.grid, camera.view, seed)
    seen = np.full(plate.shape[:2], -1, np.int32)
    stage.run(shading.first_faces, len(seen), assembled.bvh, seen, camera.view, ..., focal)
    noise = int.from_bytes(hashlib.sha256(f"{spec.name} {seed}".encode()).digest()[:4], "big")
    return film.develop(traced.linear, noise), _labels(stage, assembled)[seen]


def _labels(stage: Stage, assembled: scene.Frame) -> np.ndarray:
    """Label of each face that may be seen, and last that of seeing none."""
    head, material = stage.person.head, assembled.material
    labels = np.full(len(material) + 1, LABELS.index("face"), np.uint8)
    labels[:-1][material == scene.HAIR] = LABELS.index("hair")
    labels[:-1][material == scene.CLOTH] = LABELS.index("clothes")
    labels[:-1][material == scene.PROP] = LABELS.index("prop")
    is_skin = np.flatnonzero(material == scene.SKIN)
    corners = assembled.faces[is_skin]
    # Of the finer mesh, the head's own vertices come first and every face but the middle ones has one of them.
    own = np.where((corners < len(head.template)).any(axis=1), corners.min(axis=1), -1)
    middle = own < 0
    own[middle] = own[np.maximum(np.flatnonzero(middle) - 1, 0)]
    ears = head.regions["left_ear"] | head.regions["right_ear"]
    for name, region in (("hair", head.regions["scalp"]), ("neck", head.regions["neck"]), ("ears", ears)):
        labels[is_skin[region[own]]] = LABELS.index(name)
    labels[-1] = LABELS.index("room")
    return labels


def _plate(stage: Stage, camera: FilmCamera, size_px: int, plates: Path) -> np.ndarray:
    """The room as a camera sees it, from the folder or into it."""
    seen = (camera.view.origin.tolist(), camera.view.rotation.tolist(), camera.focal_ratio, camera.focus_m, size_px)
    path = plates / f"{hashlib.sha256(repr((seen, _PLATE_GRID, tracer_digest())).encode()).hexdigest()[:16]}.npy"
    if path.is_file():
        return np.load(path)
    focal = camera.focal_ratio * size_px
    plate = render_room((size_px, size_px), focal, _PLATE_GRID, stage.run, camera.view, camera.focus_m)
    plates.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=plates, suffix=".npy", delete=False) as file:
        np.save(file, plate)
    Path(file.name).replace(path)
    return plate


def _write_truth(
    path: Path, spec: ClipSpec, person: Person, performance: Performance, cameras: tuple[FilmCamera, ...],
    labels: np.ndarray,
) -> None:  # fmt: skip
    head = person.head
    posed = [person.posed(performance, frame) for frame in spec.frames]
    vertices = np.stack([vertices for vertices, _ in posed])
    transforms = np.stack([transforms for _, transforms in posed])
    landmarks = np.stack([head.embedded(frame) for frame in vertices])
    intrinsics = np.stack([camera.intrinsics(spec.size_px) for camera in cameras])
    cam_from_world = np.stack([camera.cam_from_world for camera in cameras])
    in_cameras = np.einsum("crk,tlk->ctlr", cam_from_world[..., :3], landmarks) + cam_from_world[:, None, None, :, 3]
    image = np.einsum("crk,ctlk->ctlr", intrinsics, in_cameras)
    arrays = {
        "name": np.array(spec.name),
        "digest": np.array(spec.digest),
        "is_rig": np.array(spec.kind == "rig"),
        "camera_ids": np.array([camera.id for camera in cameras]),
        "size_hw": np.array([spec.size_px, spec.size_px]),
        "intrinsics": intrinsics,
        "cam_from_world": cam_from_world,
        "vertices": vertices.astype(np.float32),
        "landmarks_px": (image[..., :2] / image[..., 2:]).astype(np.float32),
        "gaze": transforms[:, 3:5, :, 2].astype(np.float32),
        "labels": labels,
        "head_sha256": np.array(head.sha256),
        **{f"part_{name}": mask for name, mask in _parts(head, person).items()},
    }
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def _parts(head: HeadAsset, person: Person) -> dict[str, np.ndarray]:
    face = measured_vertices(head)
    skull = head.regions["scalp"] & ~head.regions["neck"] & ~face
    neck = head.regions["neck"] & head.part_vertices("neck_skin", "head_skin")
    return {"face": face, "skull": skull, "neck": neck & ~under_clothes(head, person.rest, _COLLAR_REACH_M)}
