"""A track under the name, and with exactly the keys, shapes and types, of the file that VHAP leaves of one.

VHAP writes `tracked_flame_params_<epoch>.npz` at several epochs of its last stage; the one of epoch 30 is the finished
track, and the only one that is written here: earlier states are not kept. The keys are those of
`raytrack.fit.track` that are not marked as ours; floats are float32, counts int64:

================================  =================================================================================
rotation translation              (T, 3)
neck_pose jaw_pose                (T, 3)
eyes_pose                         (T, 6)
shape expr                        (300,) and (T, 100)
tex_extra                         (3, 2048, 2048), whatever the size of the track's own texture
lights                            (9, 3)
timestep_id                       (T,) str
image_size n_processed_frames     (2,) h, w; and ()
tex                               (100,), where the track has principal components of albedo
static_offset                     (1, 5143, 3), where the track has one
focal_length                      (1,), unless the cameras were calibrated
================================  =================================================================================
"""

from pathlib import Path

import torch

from raytrack.fit.albedo import base_albedo
from raytrack.fit.npz import write_npz
from raytrack.fit.track import Track, resized_albedo
from raytrack.head.model import FLAME_FAMILY, HeadModel

FLAME_TRACK_FILE = "tracked_flame_params_30.npz"
TEXTURE_SIZE = 2048
_STEPS = 65536
"""Steps per unit of albedo: finer than those of the texture, and few enough that the file can be compressed."""


def save_track(path: Path, track: Track, head: HeadModel) -> tuple[Path, ...]:
    """Write a track as `Track.save` does, and one of a FLAME head beside it as VHAP does.

    Args:
        path: Of `tracked_params.npz`; its folder must exist.
        track: The track.
        head: The head it was tracked with.

    Returns:
        The files written.
    """
    track.save(path, base_albedo=base_albedo(head, track.texture_coefficients, len(track.texture)))
    if head.family != FLAME_FAMILY:
        return (path,)
    beside = path.with_name(FLAME_TRACK_FILE)
    write_flame_track(beside, Track.load(path), head)
    return path, beside


def write_flame_track(path: Path, track: Track, head: HeadModel) -> None:
    """Write a track of a FLAME head as VHAP does; equal tracks give equal bytes.

    Args:
        path: The file, to be called `FLAME_TRACK_FILE`; its folder must exist.
        track: As loaded from `tracked_params.npz`, so that both files say the same.
        head: The head it was tracked with.

    Raises:
        InputError: The track was made with another head.
        ValueError: The head is not of FLAME's family.
    """
    if head.family != FLAME_FAMILY:
        raise ValueError(f"{head.name!r} is no FLAME head")
    track.check_head(head)
    own = base_albedo(head, track.texture_coefficients, len(track.texture))
    arrays = track.vhap_arrays(own)
    extra = resized_albedo(torch.from_numpy(arrays["tex_extra"]).permute(1, 2, 0), TEXTURE_SIZE)
    arrays["tex_extra"] = ((extra.permute(2, 0, 1) * _STEPS).round() / _STEPS).numpy()
    write_npz(path, arrays)
