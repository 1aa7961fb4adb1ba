"""Columns of the tables that hold a sequence, its observations and its track.

Dataset, subject and sequence are in a part's path. Vectors of one length are fixed-size lists, points nested ones.
"""

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped

_REQUIRED = {"nullable": False}
_CAMERA = (pa.field("camera", pa.int32(), **_REQUIRED), pa.field("camera_id", pa.string(), **_REQUIRED))
"""Which camera a row is of: its place in the rig, and its name; 0 and "0" where there is but one, not calibrated."""


def vector(*shape: int, of: pa.DataType | None = None) -> pa.DataType:
    """Values of a fixed shape, float32 unless said otherwise, as nested fixed-size lists.

    For required columns only: many versions of pyarrow cannot read a file in which such a value is missing.
    """
    kind: pa.DataType = pa.float32() if of is None else of
    for length in reversed(shape):
        kind = pa.list_(kind, length)
    return kind


TRACK_SHARED = pa.schema([pa.field("num_parts", pa.int32(), **_REQUIRED), pa.field("state", pa.binary(), **_REQUIRED)])
"""One row for a sequence that is tracked in segments: where the fit stands once what all frames share is known."""


def track_segments_schema(num_columns: int) -> pa.Schema:
    """One row per frame of a sequence that is tracked in segments: the head's parameters, packed.

    `num_parts` is the number of segments.
    """
    return pa.schema(
        [
            pa.field("num_parts", pa.int32(), **_REQUIRED),
            pa.field("frame", pa.int32(), **_REQUIRED),
            pa.field("row", vector(num_columns), **_REQUIRED),
        ]
    )


SEQUENCES = pa.schema(
    [
        pa.field("source_sha256", pa.string(), **_REQUIRED),
        pa.field("kind", pa.string(), **_REQUIRED),
        pa.field("codec", pa.string()),
        pa.field("num_source_frames", pa.int32(), **_REQUIRED),
        pa.field("num_frames", pa.int32(), **_REQUIRED),
        pa.field("num_cameras", pa.int32(), **_REQUIRED),
        pa.field("height", pa.int32(), **_REQUIRED),
        pa.field("width", pa.int32(), **_REQUIRED),
        pa.field("duration_s", pa.float64(), **_REQUIRED),
        pa.field("has_alpha", pa.bool_(), **_REQUIRED),
        pa.field("capture_from_tracker", pa.list_(pa.list_(pa.float64()))),
    ]
)
"""One row. `num_frames` is the number taken of each camera, of `num_source_frames`; `duration_s` is from the start of
the first one to the end of the last; `height` and `width` are those of the pictures taken; `capture_from_tracker` is
the rotation from the tracker's world to that of a rig's calibration, which has the same origin, null where there is
none."""

CAMERAS = pa.schema(
    [
        *_CAMERA,
        pa.field("height", pa.int32(), **_REQUIRED),
        pa.field("width", pa.int32(), **_REQUIRED),
        pa.field("intrinsics", vector(3, 3, of=pa.float64()), **_REQUIRED),
        pa.field("cam_from_world", vector(3, 4, of=pa.float64()), **_REQUIRED),
    ]
)
"""One row per camera of a rig that is taken, by place; of other footage there are none.

Of an uncalibrated rig, the table `cameras` has NaN, and the table `track_cameras` what was found.

The calibration is that of the pictures taken: corrected, downsampled and undistorted. Intrinsics are in pixels with
(0, 0) the top-left corner; `cam_from_world` in metres and OpenCV axes, from the tracker's world: y up, the mean of all
the rig's cameras looking down −z."""

FRAMES = pa.schema(
    [
        *_CAMERA,
        pa.field("frame", pa.int32(), **_REQUIRED),
        pa.field("source_frame", pa.int32(), **_REQUIRED),
        pa.field("timestep_id", pa.string(), **_REQUIRED),
        pa.field("timestamp_s", pa.float64(), **_REQUIRED),
        pa.field("image", pa.string(), **_REQUIRED),
        pa.field("thumbnail", pa.binary(16 * 16 * 3), **_REQUIRED),
    ]
)
"""One row per frame taken and camera; `image` is relative to the output folder, `thumbnail` is a copy of 16 × 16 pixels
(RGB, row by row) by which cuts are found."""

DOWNSAMPLED = pa.schema(
    [
        *_CAMERA,
        pa.field("frame", pa.int32(), **_REQUIRED),
        pa.field("scale", pa.int32(), **_REQUIRED),
        pa.field("image", pa.string(), **_REQUIRED),
    ]
)
"""One row per smaller copy of a frame, `1/scale` of its size; `image` is relative to the output folder."""

ALPHAS = pa.schema(
    [
        *_CAMERA,
        pa.field("frame", pa.int32(), **_REQUIRED),
        pa.field("method", pa.string(), **_REQUIRED),
        pa.field("alpha", pa.string()),
        pa.field("foreground_share", pa.float32()),
    ]
)
"""One row per frame and camera; no file where the method is `none`."""


def landmarks_schema(num_landmarks: int, num_expressions: int, *, has_depth: bool) -> pa.Schema:
    """One row per face, frame and camera; a frame without a face has one row with `face` −1, score 0 and NaN.

    Args:
        num_landmarks: Points of the detector.
        num_expressions: Expression scores of the detector; 0 leaves the column out.
        has_depth: Whether the detector gives depths.
    """
    fields = [
        *_CAMERA,
        pa.field("frame", pa.int32(), **_REQUIRED),
        pa.field("face", pa.int16(), **_REQUIRED),
        pa.field("detector", pa.string(), **_REQUIRED),
        pa.field("landmark_set", pa.string(), **_REQUIRED),
        pa.field("score", pa.float32(), **_REQUIRED),
        pa.field("box", vector(4), **_REQUIRED),
        pa.field("landmarks", vector(num_landmarks, 2), **_REQUIRED),
    ]
    fields += [pa.field("depth", vector(num_landmarks), **_REQUIRED)] if has_depth else []
    fields += [pa.field("expression_scores", vector(num_expressions), **_REQUIRED)] if num_expressions else []
    return pa.schema(fields)


def track_schema(block_widths: dict[str, int]) -> pa.Schema:
    """One row per frame: whether it has a face of its own, and the head's parameters by block."""
    return pa.schema(
        [
            pa.field("frame", pa.int32(), **_REQUIRED),
            pa.field("timestep_id", pa.string(), **_REQUIRED),
            pa.field("tracked", pa.bool_(), **_REQUIRED),
            *(pa.field(name, vector(width), **_REQUIRED) for name, width in block_widths.items()),
        ]
    )


def track_static_schema(num_shapes: int) -> pa.Schema:
    """One row: what all frames of a sequence share; texture and offsets are in the track's file.

    Of a rig, calibrated or not, `focal_px` is null, for each camera has its own, and `height` and `width` are those of
    the first camera. Where there are cuts, `focal_px` and `lights` are those of the longest shot.
    """
    return pa.schema(
        [
            pa.field("head_name", pa.string(), **_REQUIRED),
            pa.field("path", pa.string(), **_REQUIRED),
            pa.field("num_frames", pa.int32(), **_REQUIRED),
            pa.field("num_tracked", pa.int32(), **_REQUIRED),
            pa.field("height", pa.int32(), **_REQUIRED),
            pa.field("width", pa.int32(), **_REQUIRED),
            pa.field("focal_px", pa.float64()),
            pa.field("shape", vector(num_shapes), **_REQUIRED),
            pa.field("lights", vector(9, 3), **_REQUIRED),
            pa.field("has_static_offset", pa.bool_(), **_REQUIRED),
            pa.field("texture_size", pa.int32(), **_REQUIRED),
        ]
    )


EXPORTS = pa.schema(
    [
        pa.field("kind", pa.string(), **_REQUIRED),
        pa.field("path", pa.string(), **_REQUIRED),
        pa.field("num_frames", pa.int32(), **_REQUIRED),
        pa.field("num_train", pa.int32()),
        pa.field("num_test", pa.int32()),
        pa.field("origin_m", pa.list_(pa.float64())),
    ]
)
"""One row per thing written for others to read: `render`, `preview`, `dataset`."""

EVENTS = pa.schema(
    [
        pa.field("kind", pa.string(), **_REQUIRED),
        pa.field("first_frame", pa.int32(), **_REQUIRED),
        pa.field("last_frame", pa.int32(), **_REQUIRED),
        pa.field("text", pa.string(), **_REQUIRED),
    ]
)
"""One row for everything about a sequence's footage that a person should know: `cut`, `no_face`, `several_faces`,
`other_person`. Frames count from 0; `text` says it in words."""

PICTURE_SCORE_NAMES = (
    *("psnr_db", "l1", "worst_l1", "coverage", "coverage_above_chin_share", "coverage_whole_share"),
    *("overreach_above_chin_share", "outline_error_px", "outline_error_face_percent", "outline_bias_face_percent"),
    *("ring_l1", "psnr_face_db", "psnr_eyes_db", "psnr_mouth_db", "psnr_hair_db", "psnr_ears_db", "psnr_neck_db"),
    "psnr_bust_db",
)
"""What pictures are scored by: those of one camera, or of all. Their meaning is told in docs/scores.md."""
HELD_OUT_SCORE_NAMES = (
    *("psnr_even_frames_db", "psnr_odd_frames_db", "psnr_fitted_frames_db", "psnr_held_out_frames_db"),
    *("psnr_held_out_cameras_db", "held_out_frames"),
)
OFFSET_SCORE_NAMES = tuple(
    f"offset_{region}_{measure}_mm"
    for region in ("face", "hair", "ears", "neck", "bust")
    for measure in ("mean", "p95", "max")
)
SCORE_NAMES = (
    *PICTURE_SCORE_NAMES,
    "landmark_error_px",
    "jitter_px",
    *HELD_OUT_SCORE_NAMES,
    *OFFSET_SCORE_NAMES,
)
TRUTH_NAMES = ("face_error_mm", "landmark_error_px", "psnr_db")

SCORES = pa.schema(
    [
        *(pa.field(name, pa.int32() if name == "held_out_frames" else pa.float64()) for name in SCORE_NAMES),
        pa.field("frames", pa.int32(), **_REQUIRED),
        pa.field("has_ground_truth", pa.bool_(), **_REQUIRED),
        *(pa.field(f"ground_truth_{name}", pa.float64()) for name in TRUTH_NAMES),
    ]
)
"""One row; see `raytrack.export.scores`. Null where there is nothing to measure."""


CAMERA_SCORE_NAMES = (*PICTURE_SCORE_NAMES, "landmark_error_px")

CAMERA_SCORES = pa.schema([*_CAMERA, *(pa.field(name, pa.float64()) for name in CAMERA_SCORE_NAMES)])
"""One row per camera of a rig, calibrated or not, by place: how well the track explains its pictures. Null as in the
table `scores`."""


UNIONS = pa.schema(
    [
        pa.field("path", pa.string(), **_REQUIRED),
        pa.field("mode", pa.string(), **_REQUIRED),
        pa.field("members", pa.list_(pa.string()), **_REQUIRED),
        pa.field("member_fingerprints", pa.list_(pa.string()), **_REQUIRED),
        pa.field("train_sequences", pa.list_(pa.string()), **_REQUIRED),
        pa.field("test_sequences", pa.list_(pa.string()), **_REQUIRED),
        pa.field("num_timesteps", pa.int32(), **_REQUIRED),
        pa.field("num_train", pa.int32(), **_REQUIRED),
        pa.field("num_val", pa.int32(), **_REQUIRED),
        pa.field("num_test", pa.int32(), **_REQUIRED),
        pa.field("same_identity", pa.bool_(), **_REQUIRED),
    ]
)
"""One row per format of the union of a subject's sequences; `num_train` and the like count frames. The fingerprints are
those of the members' datasets."""


IDENTITIES = pa.schema(
    [
        pa.field("path", pa.string(), **_REQUIRED),
        pa.field("members", pa.list_(pa.string()), **_REQUIRED),
    ]
)
"""One row: the joint identity of a subject's sequences, relative to the output folder, and those that took part."""


def to_vectors(values: Shaped[np.ndarray, "rows *shape"], kind: pa.DataType) -> pa.Array:
    """An array as a column of fixed-size lists, without going through Python's numbers."""
    flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
    for length in reversed(values.shape[1:]):
        flat = pa.FixedSizeListArray.from_arrays(flat, int(length))
    return flat.cast(kind)


def from_vectors(column: pa.ChunkedArray, shape: tuple[int, ...]) -> Shaped[np.ndarray, "rows *shape"]:
    """A column of fixed-size lists without nulls as an array."""
    flat = column.combine_chunks()
    rows = len(flat)
    for _ in shape:
        flat = flat.flatten()
    return flat.to_numpy(zero_copy_only=False).reshape(rows, *shape)


def vector_shape(kind: pa.DataType) -> tuple[int, ...]:
    """The shape of a column's nested fixed-size lists."""
    shape: list[int] = []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    return tuple(shape)
