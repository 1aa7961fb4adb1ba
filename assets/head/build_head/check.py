"""Numbers and pictures that tell whether a built head is good.

Run `python -m build_head.check --head head.npz --out folder`.
"""

import argparse
import json
import logging
from pathlib import Path

import cv2
import numpy as np

from raytrack.head.asset_format import read_head

from . import landmarks
from .detector import load_detector
from .expressions import visible_eyeball_px
from .model import Head, pose
from .pictures import draw_landmarks, draw_pictures, draw_regions, grid, save, textured
from .regions import boundary_loops, open_edge
from .render import View, render

log = logging.getLogger("check_head")
DENSITY_REGIONS = (
    "lips_tight",
    "lips",
    "mouth_interior",
    "teeth_upper",
    "teeth_lower",
    "tongue",
    "irises",
    "sclerae",
    "eyelids",
    "eye_region",
    "nose",
    "face",
    "forehead",
    "ears",
    "scalp",
    "neck_upper",
    "neck_lower",
    "bust",
    "boundary",
)
BLINK_CASES = 100
GROUPS = {
    "contour": landmarks.FACE_OVAL,
    "eyes": landmarks.indices(
        """
    33 7 163 144 145 153 154 155 133 246 161 160 159 158 157 173 263 249 390 373 374 380 381 382 362
    466 388 387 386 385 384 398
    """
    ),
    "brows": landmarks.indices(
        """
    276 283 282 295 285 300 293 334 296 336 46 53 52 65 55 70 63 105 66 107
    """
    ),
    "lips": landmarks.indices(
        """
    61 146 91 181 84 17 314 405 321 375 291 185 40 39 37 0 267 269 270 409 78 95 88 178 87 14 317
    402 318 324 308 191 80 81 82 13 312 311 310 415
    """
    ),
    "nose": landmarks.indices(
        """
    1 2 4 5 6 19 94 97 98 115 168 195 197 220 326 327 344 440 48 64 294 278 45 275
    """
    ),
    "irises": tuple(range(468, 478)),
}


def random_case(head: Head, rng: np.random.Generator) -> tuple[np.ndarray, View]:
    """A random identity with a few expressions, jaw, gaze and head pose."""
    chosen = rng.choice(
        [n for n in head.expression_names if not n.startswith("mh_") and n != "tongueOut"], 4, replace=False
    )
    expression = head.expression(**{n: rng.uniform(0.1, 0.7) for n in chosen})
    gaze = (rng.uniform(-8, 8), rng.uniform(-15, 15), 0)
    body = pose(
        jaw_open=max(0.0, rng.normal(0.15, 0.2)), eye_left=gaze, eye_right=gaze, neck=tuple(rng.normal(0, 4, 3))
    )
    view = View(
        yaw_deg=rng.uniform(-35, 35),
        pitch_deg=rng.uniform(-15, 15),
        roll_deg=rng.uniform(-8, 8),
        centre=(0, 0, 0.02),
        px_per_m=1750,
    )
    return head.vertices(rng.normal(size=len(head.shape_basis)), expression, body), view


def validate_landmarks(head: Head, detect, num_cases: int, out: Path) -> dict[str, float]:
    """Residuals between detected and embedded points on random heads, per region, in px and mm."""
    rng, look, errors, pictures = np.random.default_rng(99), textured(head), [], []
    arrays = head.arrays
    for _ in range(num_cases):
        vertices, view = random_case(head, rng)
        image = render(vertices, head.faces, view, **look)[0]
        found = detect(image)
        if found is None:
            log.warning("no face found")
            continue
        embedded = view.project(head.points(vertices, arrays["landmark_face"].astype(int), arrays["landmark_bary"]))[
            :, :2
        ]
        errors.append(np.linalg.norm(embedded - found[:, :2], axis=1))
        picture = np.ascontiguousarray(image)
        for points, colour in ((found, (255, 0, 0)), (embedded, (0, 230, 0))):
            for x, y in points[:, :2]:
                cv2.circle(picture, (int(x * 8), int(y * 8)), 8, colour, -1, cv2.LINE_AA, 3)
        pictures.append(cv2.resize(picture, (384, 384), interpolation=cv2.INTER_AREA))
    save(out / "validation.png", grid(pictures, 6))
    error = np.array(errors)
    groups = GROUPS | {
        "all": tuple(range(478)),
        "68 subset": landmarks.POINTS_68,
        "rest of face": tuple(set(range(468)) - set(sum((tuple(g) for g in GROUPS.values()), ()))),
    }
    report = {"cases": len(errors)}
    for name, indices in groups.items():
        values = error[:, list(indices)]
        mean, median, high = values.mean(), np.median(values), np.quantile(values, 0.95)
        report[name] = f"mean {mean:.2f} px = {1e3 * mean / 1750:.2f} mm, median {median:.2f} px, p95 {high:.2f} px"
    return report


def validate_blink(head: Head, num_cases: int) -> dict[str, float]:
    """Eyeball pixels (0.2 mm) that show at blink 1.0 on random identities."""
    rng, parts = np.random.default_rng(5), head.arrays["part_names"].tolist()
    is_ball = head.arrays["face_part"] == parts.index("left_eyeball")
    shown = []
    for _ in range(num_cases):
        vertices = head.vertices(rng.normal(size=len(head.shape_basis)), head.expression(eyeBlinkLeft=1.0))
        centre = vertices[head.faces[is_ball]].mean(axis=(0, 1))
        shown.append(visible_eyeball_px(vertices, head.faces, is_ball, centre))
    return {
        "blink_open_cases": int(np.count_nonzero(shown)),
        "blink_cases": num_cases,
        "blink_worst_px": int(max(shown)),
        "blink_open_eye_px": visible_eyeball_px(
            head.vertices(), head.faces, is_ball, head.vertices()[head.faces[is_ball]].mean(axis=(0, 1))
        ),
    }


def validate_geometry(head: Head) -> dict[str, object]:
    """Topology, exact eyes under quantisation, symmetry, and weights."""
    arrays, faces = head.arrays, head.faces
    edges = np.sort(np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)]), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    parts = arrays["part_names"].tolist()
    skin = np.isin(
        arrays["face_part"],
        [parts.index(p) for p in ("head_skin", "neck_skin", "mouth_interior", "left_socket", "right_socket")],
    )
    ball = np.unique(faces[arrays["face_part"] == parts.index("left_eyeball")])
    rng, off_sphere, off_joint = np.random.default_rng(1), 0.0, 0.0
    for _ in range(20):
        shape = rng.normal(size=len(head.shape_basis))
        points = head.vertices(shape)[ball]
        centre = arrays["joints"][3] + np.tensordot(shape, arrays["joint_shape_basis"], 1)[3]
        radius = np.linalg.norm(points - centre, axis=1)
        off_sphere, off_joint = (
            max(off_sphere, np.ptp(radius)),
            max(off_joint, np.linalg.norm((points[0] + points[-1]) / 2 - centre)),
        )
    template, mirror = arrays["v_template"], arrays["vertex_mirror"].astype(int)
    return {
        "edges_of_more_than_2_faces": int((counts > 2).sum()),
        "skin_open_loops": [len(loop) for loop in boundary_loops(open_edge(faces[skin]))],
        "template_asymmetry_mm": 1e3 * float(np.abs(template[mirror] * [-1, 1, 1] - template).max()),
        "eyeball_off_sphere_mm": 1e3 * float(off_sphere),
        "eyeball_centre_off_joint_mm": 1e3 * float(off_joint),
        "weights_sum_error": float(np.abs(arrays["lbs_weights"].astype(float).sum(1) - 1).max()),
        "size_m": np.ptp(template, axis=0).round(4).tolist(),
        "median_edge_mm": 1e3 * float(np.median(np.linalg.norm(template[edges[:, 0]] - template[edges[:, 1]], axis=1))),
    }


def texel_density(path: Path, size: int = 1024) -> dict[str, str]:
    """Texels per mm² of the mean head at an atlas of `size`², and the region's share of the atlas."""
    head = read_head(path)
    corner = head.template.numpy().astype(float)[head.faces.numpy()]
    surface = 0.5e6 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    flat = size * head.uv.numpy().astype(float)[head.uv_faces.numpy()]
    first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    texels = 0.5 * np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    report = {}
    for name in DENSITY_REGIONS:
        chosen = head.face_region(name).numpy()
        density, share = texels[chosen].sum() / surface[chosen].sum(), texels[chosen].sum() / size**2
        report[f"texels {name}"] = f"{density:.2f} per mm², {100 * share:.1f} % of the atlas"
    return report


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=30)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    head = Head.load(arguments.head)
    draw_pictures(head, arguments.out)
    draw_regions(arguments.head, head, arguments.out)
    draw_landmarks(head, arguments.out)
    report = validate_geometry(head) | texel_density(arguments.head) | validate_blink(head, BLINK_CASES)
    report |= validate_landmarks(head, load_detector(), arguments.cases, arguments.out)
    (arguments.out / "check.json").write_text(json.dumps(report, indent=1, ensure_ascii=False))
    log.info("%s", json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
