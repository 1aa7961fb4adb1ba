"""Videos of an uncalibrated rig as one sequence: names, frames, times, and what cannot be one."""

import logging

import numpy as np
import pytest
from media_files import encode, numbered_frames

from raytrack.commands import Run, job_config
from raytrack.config import SequenceConfig
from raytrack.datasets.synchronous import synchronous_sequence
from raytrack.errors import ConfigError, InputError
from raytrack.media.config import ExtractConfig
from raytrack.tables.keys import rig_names


def videos(folder, counts=(5, 5), **options):
    return [
        encode(folder / f"anna_cam{index}.mkv", numbered_frames(count), codec="ffv1", pixel_format="bgr0", **options)
        for index, count in enumerate(counts)
    ]


def rig(paths, **options):
    return synchronous_sequence(paths, rig_names([str(path) for path in paths])[1], name="anna", **options)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (("a/anna_camL.mp4", "a/anna_camR.mp4"), ("anna", ("camL", "camR"))),
        (("x/left.mp4", "x/right.mp4"), ("left", ("left", "right"))),
        (("1/take.mp4", "2/take.mp4"), ("take", ("0", "1"))),
        (("take.mp4", "take-2.mp4"), ("take", ("take", "take-2"))),
        (("s_1_a.mov", "s_1_b.mov", "s_2_c.mov"), ("s", ("1_a", "1_b", "2_c"))),
    ],
)
def test_names_come_from_what_the_videos_share(sources, expected):
    assert rig_names(sources) == expected


def test_videos_become_one_sequence(tmp_path):
    sequence = rig(videos(tmp_path, (6, 6, 6)), extract=ExtractConfig(every=2))
    assert (sequence.key.dataset, sequence.key.subject, sequence.key.sequence) == ("monocular", "anna", "anna")
    assert [(camera.name, camera.index) for camera in sequence.cameras] == [("cam0", 0), ("cam1", 1), ("cam2", 2)]
    assert sequence.source_index.tolist() == [0, 2, 4]
    assert sequence.tracker_from_capture is None
    for camera in range(3):
        for picture, index in zip(sequence.read(camera=camera), (0, 2, 4), strict=True):
            np.testing.assert_array_equal(picture.rgb, numbered_frames(6)[index])


def test_a_few_frames_more_are_left_out_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert rig(videos(tmp_path, (10, 9))).num_frames == 9
    assert "cameras have 10 (cam0), 9 (cam1) frames: the first 9 of each are taken" in caplog.text
    with pytest.raises(InputError, match=r"record the same frames, but these have 10 \(cam0\), 5 \(cam1\)"):
        rig(videos(tmp_path, (10, 5)))


def test_other_rates_and_sizes_are_refused(tmp_path):
    (first,) = videos(tmp_path, (5,))
    slow = encode(
        tmp_path / "anna_slow.mkv", numbered_frames(5), codec="ffv1", pixel_format="bgr0",
        times_ms=[0, 40, 80, 150, 190],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"cam0 and slow do not record at the same times: frame 3 is 0\.120 s"):
        rig([first, slow])
    wide = encode(tmp_path / "anna_wide.mkv", numbered_frames(5, width=96), codec="ffv1", pixel_format="bgr0")
    with pytest.raises(InputError, match=r"differ in size: 64×48 \(cam0\), 96×48 \(wide\)"):
        rig([first, wide])


def test_the_command_line_makes_one_sequence(tmp_path):
    config = job_config(Run(inputs=("a_l.mp4", "a_r.mp4"), rig=True, out=tmp_path))
    (sequence,) = config.sequences
    assert sequence.key.sequence == "a"
    assert sequence.is_rig
    assert not sequence.is_calibrated
    assert all(video.startswith("/") for video in sequence.videos)
    assert len(job_config(Run(inputs=("a_l.mp4", "a_r.mp4"), out=tmp_path)).sequences) == 2
    with pytest.raises(ConfigError, match="--rig goes with two or more videos"):
        job_config(Run(inputs=("a_l.mp4",), rig=True, out=tmp_path))
    with pytest.raises(ConfigError, match="for one video, not for several"):
        job_config(Run(inputs=("a_l.mp4", "a_r.mp4"), rig=True, plate="b.png", out=tmp_path))


def test_one_kind_of_footage_each():
    with pytest.raises(ValueError, match="either a `video`, the `videos`"):
        SequenceConfig(video="a.mp4", videos=("b.mp4", "c.mp4"))
    with pytest.raises(ValueError, match="two or more cameras"):
        SequenceConfig(videos=("b.mp4",))
    with pytest.raises(ValueError, match="two or more cameras"):
        SequenceConfig(videos=("b.mp4", "b.mp4"))
