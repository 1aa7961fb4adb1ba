"""Puts the person, hair and clothes of a frame together, bakes its soft light and renders it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.spatial import cKDTree

from . import scene, shading
from .brows import grow_brows, grow_lashes, lid_margins
from .clothes import COLLAR_REACH_M, Garment, make_garment, under_clothes
from .hair import HairStyle, grow_hair, sky_share
from .head_asset import Array, HeadAsset, vertex_normals
from .performance import Performance
from .person import Person
from .skin import SkinMaps
from .strands import RootedStrands, Strands, ribbons
from .surface import blur, fine_positions, skin_average, subdivide, with_middles
from .tracer import Bvh, build_bvh

HAIR_SKY = np.array([[0.36, 0.35, 0.34]])
"""Light of the sky on open hair."""
BROW_SKY_SHARE = 0.6
NUM_SKY, NUM_LIGHT = 48, 12
SCATTER_STEPS = (9, 3, 1)
"""Smoothing passes of the light under the skin, per colour."""
PART_MATERIAL = {
    "head_skin": scene.SKIN, "neck_skin": scene.SKIN, "left_eyeball": scene.EYE_LEFT, "right_eyeball": scene.EYE_RIGHT,
    "left_socket": scene.SOCKET, "right_socket": scene.SOCKET, "mouth_interior": scene.MOUTH,
    "teeth_upper": scene.TEETH_UPPER, "teeth_lower": scene.TEETH_LOWER, "tongue": scene.TONGUE,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Prop:
    """A thing that is neither person nor room."""

    vertices: Array
    """(n, 3) metres, where it is at rest."""
    faces: npt.NDArray[np.int64]
    joint: int | None
    """Which joint it moves with; None: none."""
    path: Array
    """(T, 3) how far it has moved, metres; not a number where it is not there."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What of a stage is a matter of taste; the demo's unless told otherwise."""

    hair: HairStyle = field(default_factory=HairStyle)
    palette: scene.Palette = field(default_factory=scene.Palette)
    lamps: tuple[scene.Lamp, ...] = scene.DEMO_LAMPS
    sky: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on the light that comes from all sides."""
    props: tuple[Prop, ...] = ()
    collar_reach_m: float = COLLAR_REACH_M
    """Up to how far above the collar's edge shoulders are left out that would stick out of the jumper."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What stays the same through the clip."""

    person: Person
    performance: Performance
    maps: SkinMaps
    lights: scene.Lights
    garment: Garment
    hair: Strands
    hair_sky: Array
    """(S · P · 2, 1) share of the sky that the hair's vertices see."""
    brows: RootedStrands
    lashes: RootedStrands
    edges: npt.NDArray[np.int64]
    """(E, 2) edges of the visible head faces."""
    fine_faces: npt.NDArray[np.int64]
    fine_material: npt.NDArray[np.uint8]
    average: sp.csr_matrix
    """Means of the skin's neighbours."""
    lid_distance: Array
    """(V,) distance from the upper lids' edges."""
    teeth: Array
    looks: Looks
    pool: ThreadPoolExecutor
    num_threads: int

    def run(self, kernel, count: int, *arguments) -> None:
        """Calls kernel(*arguments with (first, last) of `...` filled in) over blocks, on all threads."""
        blocks = np.linspace(0, count, self.num_threads * 6 + 1).astype(int)
        place = next(index for index, value in enumerate(arguments) if value is ...)
        jobs = [
            self.pool.submit(kernel, *arguments[:place], first, last, *arguments[place + 1 :])
            for first, last in pairwise(blocks)
        ]
        for job in jobs:
            job.result()


def make_stage(
    person: Person, performance: Performance, maps: SkinMaps, num_threads: int, looks: Looks | None = None
) -> Stage:
    """Build everything that does not change."""
    looks = looks or Looks()
    head, rest = person.head, person.rest
    visible = ~under_clothes(head, rest, looks.collar_reach_m)[head.faces].all(axis=1)
    edges, fine_faces = subdivide(head.faces[visible], len(rest))
    material = np.array([PART_MATERIAL[head.part_names[part]] for part in head.face_part[visible]], np.uint8)
    upper_lids = np.concatenate([edge for (_, upper), edge in lid_margins(head, head.template).items() if upper])
    hair = grow_hair(head, rest, looks.hair)
    return Stage(
        person=person,
        performance=performance,
        maps=maps,
        lights=scene.make_lights(looks.lamps),
        garment=make_garment(head, rest),
        hair=hair,
        hair_sky=np.repeat(sky_share(hair, rest[head.regions["scalp"]]).reshape(-1, 1), 2, axis=0),
        brows=grow_brows(head, rest),
        lashes=grow_lashes(head, rest),
        edges=edges,
        fine_faces=fine_faces,
        fine_material=np.repeat(material, 4),
        average=skin_average(head),
        lid_distance=cKDTree(upper_lids).query(head.template)[0],
        teeth=np.array([arch(head, "teeth_upper", upward=True), arch(head, "teeth_lower", upward=False)]),
        looks=looks,
        pool=ThreadPoolExecutor(num_threads),
        num_threads=num_threads,
    )


def arch(head: HeadAsset, part: str, *, upward: bool) -> list[float]:
    """Template heights of a row of teeth's gum end and cutting edge, and its middle depth and extent in depth."""
    points = head.template[head.part_vertices(part)]
    low, high = np.percentile(points[:, 1], [2, 98])
    near, far = points[:, 2].max(), points[:, 2].min()
    gum_end, edge = (high, low) if upward else (low, high)
    return [gum_end, edge, (near + far) / 2, near - far]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A rendered frame: linear colour, and the share of each pixel that the person covers."""

    linear: npt.NDArray[np.float32]
    alpha: npt.NDArray[np.float32]


def apply(transform: Array, points: Array) -> Array:
    """Rigid transform of (..., 3) points."""
    return points @ transform[:, :3].T + transform[:, 3]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Part of a frame's geometry, with what its material needs (see scene.Frame)."""

    position: Array
    normal: Array
    rest: Array
    faces: npt.NDArray[np.int64]
    material: npt.NDArray[np.uint8]


def strand_piece(strands: Strands, material: int, camera: Array) -> Piece:
    """Ribbons as geometry, facing a camera."""
    position, tangent, attributes, faces = ribbons(strands, camera)
    return Piece(
        position=position,
        normal=tangent,
        rest=attributes,
        faces=faces,
        material=np.full(len(faces), material, np.uint8),
    )


def prop_piece(prop: Prop, frame: int, transforms: Array) -> Piece:
    """A prop where it is in a frame."""
    vertices = prop.vertices if prop.joint is None else apply(transforms[prop.joint], prop.vertices)
    vertices = vertices + prop.path[frame]
    return Piece(
        position=vertices,
        normal=vertex_normals(vertices, prop.faces),
        rest=np.zeros_like(vertices),
        faces=prop.faces,
        material=np.full(len(prop.faces), scene.PROP, np.uint8),
    )


def frame_pieces(stage: Stage, vertices: Array, normals: Array, transforms: Array, camera: Array) -> list[Piece]:
    """Head, jumper, hair, brows and lashes in the world."""
    fine_normals = with_middles(normals, stage.edges)
    head = Piece(
        position=fine_positions(vertices, normals, stage.edges),
        normal=fine_normals / np.maximum(np.linalg.norm(fine_normals, axis=1, keepdims=True), 1e-12),
        rest=with_middles(stage.person.head.template, stage.edges),
        faces=stage.fine_faces,
        material=stage.fine_material,
    )
    garment = apply(transforms[0], stage.garment.vertices)
    jumper = Piece(
        position=garment,
        normal=vertex_normals(garment, stage.garment.faces),
        rest=stage.garment.coordinates,
        faces=stage.garment.faces,
        material=np.full(len(stage.garment.faces), scene.CLOTH, np.uint8),
    )
    hair = Strands(points=apply(transforms[1], stage.hair.points), widths=stage.hair.widths, tint=stage.hair.tint)
    brows, lashes = stage.brows.posed(vertices), stage.lashes.posed(vertices)
    return [
        head,
        jumper,
        strand_piece(hair, scene.HAIR, camera),
        strand_piece(brows, scene.BROW, camera),
        strand_piece(lashes, scene.BROW, camera),
    ]


def baked_light(
    stage: Stage, bvh: Bvh, material: npt.NDArray[np.uint8], vertices: Array, normals: Array, pieces: list[Piece]
) -> tuple[Array, Array]:
    """Light from all sides (n, 3) at all vertices, and direct light under the head's skin (m, 3)."""
    _, jumper, _, brows, lashes, *props = pieces
    ambient = [
        with_middles(baked_sky(stage, bvh, material, vertices, normals), stage.edges),
        baked_sky(stage, bvh, material, jumper.position, jumper.normal),
        stage.hair_sky * HAIR_SKY,
        *(np.tile(BROW_SKY_SHARE * HAIR_SKY, (len(piece.position), 1)) for piece in (brows, lashes)),
        *(baked_sky(stage, bvh, material, piece.position, piece.normal) for piece in props),
    ]
    scatter = with_middles(scattered_light(stage, bvh, vertices, normals), stage.edges)
    scatter = np.pad(scatter, ((0, sum(len(piece.position) for piece in pieces[1:])), (0, 0)))
    return np.concatenate(ambient) * stage.looks.sky, scatter


def assemble(stage: Stage, frame: int, view: scene.View, lit: scene.Frame | None = None) -> scene.Frame:
    """Geometry and baked light of a frame, for one camera.

    Args:
        stage: What stays the same.
        frame: Which frame of the performance.
        view: The camera, which strands face.
        lit: The same frame for another camera, whose light is taken over.
    """
    head = stage.person.head
    vertices, transforms = stage.person.posed(stage.performance, frame)
    normals = vertex_normals(vertices, head.faces)
    pieces = frame_pieces(stage, vertices, normals, transforms, view.origin)
    shown = (prop for prop in stage.looks.props if np.isfinite(prop.path[frame]).all())
    pieces += [prop_piece(prop, frame, transforms) for prop in shown]
    starts = np.cumsum([0, *(len(piece.position) for piece in pieces)])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts[:-1], strict=True)])
    faces = faces.astype(np.int32)
    material = np.concatenate([piece.material for piece in pieces])
    position = np.concatenate([piece.position for piece in pieces]).astype(np.float32)
    bvh = build_bvh(position, faces)
    ambient, scatter = (
        baked_light(stage, bvh, material, vertices, normals, pieces) if lit is None else (lit.ambient, lit.scatter)
    )
    lid_distance = with_middles(stage.lid_distance, stage.edges)[:, None]
    others = len(position) - len(lid_distance)
    return scene.Frame(
        bvh=bvh,
        faces=faces,
        material=material,
        position=position,
        normal=np.concatenate([piece.normal for piece in pieces]).astype(np.float32),
        rest=np.concatenate([piece.rest for piece in pieces]).astype(np.float32),
        ambient=ambient.astype(np.float32),
        scatter=scatter.astype(np.float32),
        lid_distance=np.pad(lid_distance, ((0, others), (0, 0))).astype(np.float32),
        head_rotation=transforms[1, :, :3].astype(np.float32),
        eye_rotation=transforms[3:5, :, :3].astype(np.float32),
        eye_centre=head.joints[3:5].astype(np.float32),
        iris_angle=head.iris_angle_rad,
        teeth=stage.teeth.astype(np.float32),
        palette=stage.looks.palette,
    )


def baked_sky(stage: Stage, bvh: Bvh, material: npt.NDArray[np.uint8], points: Array, normals: Array) -> Array:
    """Sky and bounced light (n, 3) at vertices."""
    ambient = np.zeros((len(points), 3), np.float32)
    points, normals = points.astype(np.float32), normals.astype(np.float32)
    stage.run(shading.bake_sky, len(points), bvh, material, scene.BOUNCE, points, normals, ambient, ..., NUM_SKY)
    return ambient.astype(float)


def scattered_light(stage: Stage, bvh: Bvh, points: Array, normals: Array) -> Array:
    """Direct light (V, 3) at the head's vertices, spread under the skin."""
    direct = np.zeros((len(points), 3), np.float32)
    points, normals = points.astype(np.float32), normals.astype(np.float32)
    stage.run(shading.bake_direct, len(points), bvh, stage.lights, points, normals, direct, ..., NUM_LIGHT)
    channels = [blur(stage.average, direct[:, c].astype(float), steps) for c, steps in enumerate(SCATTER_STEPS)]
    return np.stack(channels, axis=1)


def render(
    stage: Stage,
    frame: int,
    plate: npt.NDArray[np.float32],
    focal_px: float,
    grid: int,
    view: scene.View | None = None,
) -> Picture:
    """One frame over a background plate (H, W, 3), grid² samples a pixel."""
    view = view or scene.View()
    return trace(stage, assemble(stage, frame, view), plate, focal_px, grid, view, seed=frame + 1)


def trace(
    stage: Stage,
    assembled: scene.Frame,
    plate: npt.NDArray[np.float32],
    focal_px: float,
    grid: int,
    view: scene.View,
    seed: int,
) -> Picture:
    """The picture of an assembled frame."""
    image, alpha = np.zeros_like(plate), np.zeros(plate.shape[:2], np.float32)
    stage.run(
        shading.render_rows,
        len(plate),
        assembled,
        stage.maps,
        stage.lights,
        plate,
        image,
        alpha,
        view,
        ...,
        focal_px,
        grid,
        seed,
    )
    return Picture(linear=image, alpha=alpha)
