"""Video files: what a probe says of them, and reading them, whatever their kind."""

import logging
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import audio_only, encode, numbered_frames, quadrants, read_frames, set_display_matrix

from raytrack.errors import InputError, OutputError
from raytrack.media.encode import write_video
from raytrack.media.orientation import Orientation, orientation_from_matrix
from raytrack.media.probe import probe_video
from raytrack.media.source import probe, read_pictures

B_FRAMES = {"bf": "3", "g": "10", "b-pyramid": "normal", "refs": "4"}


def brightness(frames) -> list[float]:
    return [float(frame.mean()) for frame in frames]


def decoded_by_pyav(path: Path) -> list[np.ndarray]:
    """All frames in the plainest way, for comparison."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.m4v", "libx264", "yuv420p"),
        ("clip.mov", "libx264", "yuv420p"),
        ("CLIP.MP4", "libx264", "yuv420p"),
        ("clip.mkv", "libx265", "yuv420p10le"),
        ("clip.webm", "libvpx-vp9", "yuv420p"),
        ("clip-vp8.webm", "libvpx", "yuv420p"),
        ("clip.avi", "mpeg4", "yuv420p"),
        ("clip.mkv", "ffv1", "gray"),
        ("clip.mkv", "ffv1", "gray16le"),
        ("clip.mov", "png", "rgb48be"),
        ("clip.mov", "prores_ks", "yuv422p10le"),
        ("clip.ts", "libx264", "yuv420p"),
    ],
)
def test_every_common_kind_reads_whole_and_in_order(tmp_path, name, codec, pixel_format):
    frames = numbered_frames(12)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = encode(tmp_path / name, frames, codec=codec, pixel_format=pixel_format, options=options)
    info = probe(path)
    read = list(read_frames(info))
    assert (info.num_frames, info.size_hw) == (12, (48, 64))
    assert len(info.frame_ids) == 12
    np.testing.assert_allclose(info.timestamps_s, np.arange(12) * 0.04, atol=1.5e-3)
    assert all(frame.dtype == np.uint8 and frame.shape == (48, 64, 3) for frame in read)
    np.testing.assert_allclose(brightness(read), brightness(frames), atol=4)


def test_gif(tmp_path):
    frames = numbered_frames(5)
    path = encode(tmp_path / "clip.gif", frames, codec="gif", pixel_format="gray", times_ms=range(0, 500, 100))
    info = probe(path)
    assert (info.num_frames, info.has_alpha) == (5, False)
    np.testing.assert_allclose(info.timestamps_s, np.arange(5) * 0.1, atol=1e-9)
    np.testing.assert_allclose(brightness(read_frames(info)), brightness(frames), atol=3)


def test_one_frame(tmp_path):
    path = encode(tmp_path / "one.mp4", numbered_frames(1))
    info = probe(path)
    assert (info.num_frames, info.average_fps, info.duration_s) == (1, 25.0, 0.04)
    assert info.timestamps_s.tolist() == [0.0]
    assert len(list(read_frames(info))) == 1


def test_odd_size(tmp_path):
    frames = numbered_frames(3, height=47, width=63)
    path = encode(tmp_path / "odd.mkv", frames, codec="ffv1", pixel_format="bgr0")
    info = probe(path)
    assert info.size_hw == (47, 63)
    assert all(np.array_equal(a, b) for a, b in zip(read_frames(info), frames, strict=True))


def test_alpha_channel_is_offered_and_does_not_touch_the_colour(tmp_path):
    rgba = np.dstack([quadrants(), np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))])
    path = encode(tmp_path / "a.mov", [rgba] * 2, codec="png", pixel_format="rgba", source_format="rgba")
    info = probe(path)
    picture = next(read_pictures(info))
    assert info.has_alpha
    np.testing.assert_array_equal(picture.rgb, rgba[..., :3])
    np.testing.assert_array_equal(picture.alpha, rgba[..., 3])


def test_an_alpha_channel_that_says_nothing_counts_as_none(tmp_path):
    opaque = np.dstack([quadrants(), np.full((48, 64), 255, np.uint8)])
    options = {"codec": "prores_ks", "pixel_format": "yuva444p10le", "source_format": "rgba"}
    path = encode(tmp_path / "prores4444.mov", [opaque] * 3, options={"profile": "4444"}, **options)
    assert probe_video(path).has_alpha, "the channel is there"
    info = probe(path)
    assert not info.has_alpha
    assert [picture.alpha for picture in read_pictures(info)] == [None] * 3


def test_a_matte_that_begins_late_is_found(tmp_path):
    frames = [np.dstack([quadrants(), np.full((48, 64), 255, np.uint8)]) for _ in range(30)]
    for frame in frames[15:]:
        frame[:20, :, 3] = 0
    path = encode(tmp_path / "a.mov", frames, codec="png", pixel_format="rgba", source_format="rgba")
    assert probe(path).has_alpha


def test_a_probe_does_not_keep_the_file_in_memory(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 512, 512, 3), np.uint8)
    options = {"codec": "qtrle", "pixel_format": "rgb24"}
    small = encode(tmp_path / "small.mov", noise[:2], options={"g": "1"}, **options)
    large = encode(tmp_path / "large.mov", (noise[index % 4] for index in range(80)), options={"g": "1"}, **options)
    assert large.stat().st_size > 60e6
    code = (
        "import re, sys\nfrom pathlib import Path\nfrom raytrack.media.probe import probe_video\n"
        "def peak():\n    return int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "probe_video(Path(sys.argv[1]))\nbefore = peak()\n"
        "assert probe_video(Path(sys.argv[2])).keyframe_pts.size == 80\nprint(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(small), str(large)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 20_000, "kB more than for a small file"


def test_footage_without_alpha_offers_none(tmp_path):
    info = probe(encode(tmp_path / "a.mp4", numbered_frames(2)))
    assert not info.has_alpha
    assert next(read_pictures(info)).alpha is None


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),  # anticlockwise
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),  # clockwise, as phones write it
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    ],
)
def test_rotation_flag(tmp_path, matrix, shown):
    path = set_display_matrix(encode(tmp_path / "turned.mp4", [quadrants()] * 3), *matrix)
    info = probe(path)
    expected = shown(quadrants())
    assert info.size_hw == expected.shape[:2]
    for frame in read_frames(info):
        assert np.abs(frame.astype(int) - expected).mean() < 10
        assert frame.flags.c_contiguous


def test_a_turn_by_an_odd_angle_becomes_the_nearest_quarter(caplog):
    matrix = np.array([0.1, -0.99, 0, 0.99, 0.1, 0, 0, 0, 16384]) * 65536
    assert orientation_from_matrix(matrix) == Orientation(transpose=True, mirror_y=True)
    assert "no multiple of 90 degrees" in caplog.text


def test_variable_frame_rate_keeps_the_true_times(tmp_path):
    times_ms = [0, 20, 60, 65, 200, 233, 500]
    path = encode(tmp_path / "vfr.mp4", numbered_frames(7), times_ms=times_ms, options=B_FRAMES)
    info = probe(path)
    np.testing.assert_allclose(info.timestamps_s, np.array(times_ms) / 1000, atol=1e-9)
    assert info.average_fps == pytest.approx(6 / 0.5)
    assert info.duration_s == pytest.approx(0.5 + 0.5 / 6)


def test_times_begin_at_the_first_frame(tmp_path):
    path = encode(tmp_path / "late.mkv", numbered_frames(3), times_ms=[1000, 1040, 1080])
    np.testing.assert_allclose(probe(path).timestamps_s, [0.0, 0.04, 0.08], atol=1e-9)


def test_audio_first(tmp_path):
    frames = numbered_frames(6)
    path = encode(tmp_path / "av.mp4", frames, audio_first=True)
    with av.open(str(path)) as container:
        assert container.streams[0].type == "audio"
    info = probe(path)
    assert info.num_frames == 6
    np.testing.assert_allclose(brightness(read_frames(info)), brightness(frames), atol=3)


@pytest.mark.parametrize("colorspace", [1, 5])  # BT.709 and BT.601, as FFmpeg numbers them
def test_colours_follow_the_files_own_matrix(tmp_path, colorspace):
    path = tmp_path / "matrix.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace = colorspace
        target = {1: "ITU709", 5: "ITU601"}[colorspace]
        frame = av.VideoFrame.from_ndarray(quadrants(), format="rgb24")
        container.mux(stream.encode(frame.reformat(format="yuv444p", dst_colorspace=target)))
        container.mux(stream.encode())
    read = next(read_frames(probe(path)))
    assert np.abs(read[12, 16].astype(int) - (255, 0, 0)).max() <= 3
    assert np.abs(read[36, 16].astype(int) - (0, 255, 0)).max() <= 3


# --- any stretch is the same


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b.mp4", "libx264", B_FRAMES),
        ("open.mp4", "libx264", {**B_FRAMES, "x264-params": "open-gop=1:scenecut=0"}),
        ("open.mkv", "libx265", {"x265-params": "open-gop=1:keyint=10:bframes=3:log-level=none"}),
        ("b.avi", "mpeg4", {"bf": "2", "g": "8"}),
        ("v.webm", "libvpx-vp9", {"g": "9", "auto-alt-ref": "1", "lag-in-frames": "8"}),
        ("v8.webm", "libvpx", {"g": "9", "auto-alt-ref": "1", "lag-in-frames": "8"}),
        ("t.ts", "libx264", B_FRAMES),
    ],
)
def test_a_stretch_is_the_same_however_the_clip_is_cut(tmp_path, name, codec, options):
    rng = np.random.default_rng(3)
    texture = rng.integers(0, 255, (48, 128, 3)).astype(np.uint8)
    frames = [texture[:, 2 * index : 2 * index + 64] for index in range(30)]
    path = encode(tmp_path / name, frames, codec=codec, options=options)
    info = probe(path)
    whole = list(read_frames(info))
    expected = decoded_by_pyav(path)
    assert len(whole) == len(expected) == 30
    assert all(np.array_equal(a, b) for a, b in zip(whole, expected, strict=True))
    for size in (1, 7, 11):
        starts = range(0, 30, size)
        pieces = [frame for start in starts for frame in read_frames(info, start, min(start + size, 30))]
        assert all(np.array_equal(a, b) for a, b in zip(pieces, whole, strict=True)), size


def test_common_files_are_entered_at_a_keyframe(tmp_path):
    info = probe(encode(tmp_path / "k.mp4", numbered_frames(30), options=B_FRAMES))
    assert len(info.keyframe_pts) >= 3
    assert set(info.keyframe_pts) <= set(info.pts)


def test_a_range_beyond_the_clip_is_refused(tmp_path):
    info = probe(encode(tmp_path / "k.mp4", numbered_frames(3)))
    assert list(read_frames(info, 2, 2)) == []
    with pytest.raises(ValueError, match="not within the 3"):
        list(read_frames(info, 1, 4))


# --- bad input


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file or folder; check the path"):
        probe(tmp_path / "none.mp4")


def test_zero_bytes(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match="empty \\(zero bytes\\)"):
        probe(tmp_path / "empty.mp4")


def test_not_a_video(tmp_path):
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    with pytest.raises(InputError, match=r"not a video.*convert it"):
        probe(tmp_path / "text.mp4")


def test_playlists_cannot_name_other_files(tmp_path):
    secret = encode(tmp_path / "secret.ts", numbered_frames(3))
    playlist = tmp_path / "clip.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError, match="not a video"):
        probe(playlist)
    playlist.write_text(f"ffconcat version 1.0\nfile '{secret}'\n")
    with pytest.raises(InputError, match="not a video"):
        probe(playlist)


def test_audio_only(tmp_path):
    with pytest.raises(InputError, match="no video in this file \\(it has: audio\\)"):
        probe(audio_only(tmp_path / "sound.mp4"))


def test_truncated_before_the_index(tmp_path):
    # A plain MP4 has its index at the end.
    path = encode(tmp_path / "cut.mp4", numbered_frames(30))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="header is cut off or damaged"):
        probe(path)


@pytest.mark.parametrize(
    ("name", "codec", "container_options"),
    [("cut.mp4", "libx264", {"movflags": "+faststart"}), ("cut.mkv", "libx264", {}), ("cut.avi", "mpeg4", {})],
)
def test_a_cut_off_end_leaves_what_comes_before_it(tmp_path, caplog, name, codec, container_options):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(20)]
    options = {"g": "5", "bf": "0"}
    path = encode(tmp_path / name, frames, codec=codec, options=options, container_options=container_options)
    whole = list(read_frames(probe(path)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with caplog.at_level(logging.WARNING, logger="raytrack"):
        info = probe(path)
    assert 8 <= info.num_frames <= 16
    read = list(read_frames(info))
    assert len(read) == info.num_frames
    assert all(np.array_equal(a, b) for a, b in zip(read, whole, strict=False))
    again = [frame for start in range(info.num_frames) for frame in read_frames(info, start, start + 1)]
    assert all(np.array_equal(a, b) for a, b in zip(again, read, strict=True))
    if name == "cut.mp4":
        assert f"only {info.num_frames} of 20 frames can be read" in caplog.text


def test_damage_in_the_middle_keeps_the_number_of_frames_whatever_the_stretch(tmp_path):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(20)]
    path = encode(tmp_path / "hurt.mp4", frames, options={"g": "5", "bf": "0"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    info = probe(path)
    assert len(list(read_frames(info))) == info.num_frames
    assert sum(len(list(read_frames(info, start, start + 1))) for start in range(info.num_frames)) == info.num_frames


def test_a_folder_in_place_of_a_file_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="no image in this folder"):
        probe(tmp_path)


def test_a_clip_that_begins_between_keyframes_gives_what_can_be_decoded(tmp_path):
    frames = numbered_frames(30)
    whole = encode(tmp_path / "whole.mkv", frames, options={"g": "10", "bf": "0", "sc_threshold": "0"})
    cut = tmp_path / "cut.mkv"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in list(source.demux(video=0))[4:]:
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    info = probe(cut)
    read = list(read_frames(info))
    assert info.num_frames == len(read) == 20
    np.testing.assert_allclose(brightness(read), brightness(frames[10:]), atol=3)


# --- writing


def test_written_video_plays_everywhere_and_pads_odd_sizes(tmp_path):
    frames = numbered_frames(5, height=47, width=63)
    path = tmp_path / "new folder" / "out.mp4"
    write_video(path, iter(frames), 29.97)
    info = probe(path)
    assert (info.codec, info.pixel_format, info.size_hw) == ("h264", "yuv420p", (48, 64))
    assert info.average_fps == pytest.approx(29.97, abs=1e-3)
    for read, frame in zip(read_frames(info), frames, strict=True):
        assert np.abs(read[:47, :63].astype(int) - frame).mean() < 2
        assert np.abs(read[47, :63].astype(int) - frame[46]).mean() < 3
    # An index before the data lets a browser start playing at once.
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]


def test_equal_frames_give_equal_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, numbered_frames(8), 25)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    def broken():
        yield from numbered_frames(2)
        raise KeyError("renderer")

    with pytest.raises(KeyError):
        write_video(tmp_path / "out.mp4", broken(), 25)
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "out.mp4", [], 25)
    with pytest.raises(ValueError, match="frame 1"):
        write_video(tmp_path / "out.mp4", [*numbered_frames(1), *numbered_frames(1, height=20)], 25)
    with pytest.raises(ValueError, match="fps"):
        write_video(tmp_path / "out.mp4", numbered_frames(1), 0)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_video(tmp_path / "file" / "out.mp4", numbered_frames(1), 25)


def test_probe_does_not_depend_on_the_name(tmp_path):
    path = encode(tmp_path / "plain.mp4", numbered_frames(4))
    for odd in ("with space.mp4", "percent%04d.mp4", "a:b.mp4", "-dash.mp4", "no_suffix"):
        shutil.copy(path, tmp_path / odd)
        assert probe_video(tmp_path / odd).num_frames == 4


def test_times_increase(tmp_path):
    info = probe(encode(tmp_path / "b.mp4", numbered_frames(30), options=B_FRAMES))
    assert all(b > a for a, b in pairwise(info.pts))


def test_a_rate_too_low_for_a_video_is_the_lowest_there_is(tmp_path):
    write_video(tmp_path / "slow.mp4", numbered_frames(2), 1e-9)
    assert probe(tmp_path / "slow.mp4").timestamps_s[1] == pytest.approx(1001)
    with pytest.raises(ValueError, match="positive and finite"):
        write_video(tmp_path / "never.mp4", numbered_frames(2), float("inf"))
