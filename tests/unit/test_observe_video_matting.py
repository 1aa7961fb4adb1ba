"""RobustVideoMatting and BackgroundMattingV2, loaded from small files with the same interfaces."""

import numpy as np
import pytest
import torch
from tiny_networks import (
    TinyBackgroundMatting,
    TinyVideoMatting,
    save_onnx_video_matting,
    save_torchscript,
)

from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import AssetError, ConfigError, InputError
from raytrack.media.images import read_mask, write_png
from raytrack.observe.matting import make_matter
from raytrack.observe.rvm import WARM_UP_FRAMES
from raytrack.observe.weights import find_weights, weights_identity
from raytrack.pipeline.run import run_job
from raytrack.pipeline.stage import select
from raytrack.pipeline.stages import all_stages, check_job

FORMATS = ("torchscript", "onnx")


@pytest.fixture(autouse=True)
def _no_installed_weights(monkeypatch):
    monkeypatch.delenv("RAYTRACK_ASSETS", raising=False)


def video_matting_file(folder, kind: str):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
        return save_onnx_video_matting(folder / "rvm_tiny.onnx")
    return save_torchscript(TinyVideoMatting(), folder / "rvm_tiny.torchscript")


def flicker(num_frames: int, height: int = 12, width: int = 20) -> list[tuple[str, np.ndarray]]:
    levels = np.random.default_rng(3).integers(0, 256, num_frames)
    return [(f"{k:06d}", np.full((height, width, 3), level, np.uint8)) for k, level in enumerate(levels)]


def brightness(frames) -> np.ndarray:
    """What the tiny networks make of a clip, by their definition."""
    state, expected = 0.0, []
    for _, image in frames:
        state = 0.5 * state + 0.5 * float(image[0, 0, 0])
        expected.append(state)
    return np.array(expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_memory_goes_from_frame_to_frame_and_not_from_clip_to_clip(tmp_path, kind):
    matter = make_matter("rvm", weights=str(video_matting_file(tmp_path, kind)))
    frames = flicker(9)
    for _ in range(2):
        mattes = np.stack(list(matter.track(frames)))
        assert (mattes.dtype, mattes.shape) == (np.uint8, (9, 12, 20))
        np.testing.assert_allclose(mattes[:, 5, 5], brightness(frames), atol=0.51)
    # Two cameras side by side keep a memory each.
    pairs = zip(matter.track(frames), matter.track(flicker(9)[::-1]), strict=True)
    np.testing.assert_array_equal(np.stack([first for first, _ in pairs]), mattes)
    np.testing.assert_array_equal(matter.alpha(frames[4][1]), next(matter.track(frames[4:])))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("longer", "ratio"), [(500, 1.0), (1024, 0.5), (2048, 0.25)])
def test_large_pictures_are_looked_at_in_small(tmp_path, kind, longer, ratio):
    matter = make_matter("rvm", weights=str(video_matting_file(tmp_path, kind)))
    alpha = matter.alpha(np.full((8, longer, 3), 200, np.uint8))
    np.testing.assert_allclose(alpha, 100 * ratio, atol=0.51)


def test_half_precision_networks_get_half_precision(tmp_path):
    class Half(TinyVideoMatting):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))

        def forward(self, src: torch.Tensor, r1: torch.Tensor | None, r2: torch.Tensor | None,
                    r3: torch.Tensor | None, r4: torch.Tensor | None, ratio: float) -> list[torch.Tensor]:  # fmt: skip
            if src.dtype != torch.float16:
                raise RuntimeError("half precision only")
            return [src, src[:, :1] * self.scale, src, src, src, src]

    matter = make_matter("rvm", weights=str(save_torchscript(Half(), tmp_path / "rvm_fp16.torchscript")))
    assert (matter.alpha(np.full((4, 4, 3), 128, np.uint8)) == 128).all()


def test_missing_weights_say_which_from_where_and_where_to(tmp_path, monkeypatch):
    with pytest.raises(AssetError, match=r"rvm_mobilenetv3_fp32\.onnx .* from github\.com/PeterL1n/RobustVideoMatting"):
        make_matter("rvm")
    monkeypatch.setenv("RAYTRACK_ASSETS", str(tmp_path))
    with pytest.raises(AssetError, match=rf"{tmp_path}/rvm.*into the folder rvm under \$RAYTRACK_ASSETS"):
        find_weights("rvm")
    (tmp_path / "rvm").mkdir()
    path = video_matting_file(tmp_path / "rvm", "torchscript")
    assert find_weights("rvm") == path
    assert len(weights_identity("rvm")["sha256"]) == 64
    assert weights_identity("selfie") == {}
    with pytest.raises(AssetError, match=r"files that end with \.onnx or \.torchscript"):
        find_weights("rvm", str(save_torchscript(TinyVideoMatting(), tmp_path / "rvm.pth")))


def test_files_of_something_else_are_refused(tmp_path):
    broken = tmp_path / "broken.torchscript"
    broken.write_bytes(b"no archive")
    with pytest.raises(AssetError, match="not a TorchScript file"):
        make_matter("rvm", weights=str(broken))

    class Other(TinyVideoMatting):
        def forward(self, src: torch.Tensor, r1: torch.Tensor | None, r2: torch.Tensor | None,
                    r3: torch.Tensor | None, r4: torch.Tensor | None, ratio: float) -> list[torch.Tensor]:  # fmt: skip
            return [src]

    other = save_torchscript(Other(), tmp_path / "other.torchscript")
    with pytest.raises(AssetError, match="not RobustVideoMatting"):
        make_matter("rvm", weights=str(other)).alpha(np.zeros((4, 4, 3), np.uint8))


def test_onnx_files_of_something_else_are_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no archive")
    with pytest.raises(AssetError, match="not an ONNX file"):
        make_matter("rvm", weights=str(tmp_path / "broken.onnx"))
    value = [onnx.helper.make_tensor_value_info(name, 1, (1,)) for name in "ab"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["a"], ["b"])], "g", value[:1], value[1:])
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(tmp_path / "other.onnx"))
    with pytest.raises(AssetError, match="not RobustVideoMatting, it has no src, r1i"):
        make_matter("rvm", weights=str(tmp_path / "other.onnx"))


def test_chunks_overlap_so_that_their_bounds_do_not_show(tmp_path):
    weights = video_matting_file(tmp_path, "torchscript")
    frames = flicker(WARM_UP_FRAMES + 23, 16, 16)
    for name, image in frames:
        write_png(tmp_path / "clip" / f"{name}.png", image)
    for out, chunk_frames in (("whole", 256), ("cut", WARM_UP_FRAMES + 4), ("fine", 29)):
        data = {"chunk_frames": chunk_frames}
        config = RunConfig(
            sequences=(SequenceConfig(video=str(tmp_path / "clip")),),
            matting="rvm",
            matting_weights=str(weights),
            pipeline=type(RunConfig().pipeline)(**data),
        )
        report = run_job(config, tmp_path / out, select(all_stages(config), ("alphas",)), sequential=True)
        assert report.exit_code == 0
    for out in ("whole", "cut", "fine"):
        paths = sorted((tmp_path / out / "frames" / "clip" / "alpha_maps").glob("*.png"))
        levels = np.array([read_mask(path)[3, 3] for path in paths], np.float64)
        np.testing.assert_allclose(levels, brightness(frames), atol=0.52, err_msg=out)


def test_a_job_without_its_weights_fails_before_any_work(tmp_path):
    config = RunConfig(sequences=(SequenceConfig(video="clip.mp4"),), matting="rvm")
    with pytest.raises(AssetError, match="rvm: the weights"):
        check_job(config)


def plate_and_frame(tmp_path, height: int, width: int):
    plate = np.random.default_rng(1).integers(60, 190, (height, width, 3)).astype(np.uint8)
    frame = plate.copy()
    frame[: height // 2] = np.clip(plate[: height // 2].astype(int) + 51, 0, 255)
    write_png(tmp_path / "plate.png", plate)
    return tmp_path / "plate.png", frame


@pytest.mark.parametrize(("height", "width"), [(16, 24), (15, 22)])
def test_background_matting_gets_frame_and_plate(tmp_path, height, width):
    weights = save_torchscript(TinyBackgroundMatting(), tmp_path / "torchscript_tiny.pth")
    plate, frame = plate_and_frame(tmp_path, height, width)
    matter = make_matter("bgmv2", plate=plate, weights=str(weights))
    alpha = matter.alpha(frame)
    assert (alpha.dtype, alpha.shape) == (np.uint8, (height, width))
    assert np.abs(alpha[: height // 2].astype(int) - 51).max() < 12
    assert alpha[height // 2 :].max() < 12
    with pytest.raises(InputError, match="same camera"):
        matter.alpha(np.zeros((width, height, 3), np.uint8))


def test_background_matting_says_what_it_lacks(tmp_path):
    plate, _ = plate_and_frame(tmp_path, 8, 8)
    with pytest.raises(AssetError, match=r"torchscript_mobilenetv2_fp32\.pth"):
        make_matter("bgmv2", plate=plate)
    with pytest.raises(ConfigError, match="picture of the empty scene"):
        make_matter("bgmv2")
    with pytest.raises(ConfigError, match="needs a picture of the empty scene for sequence 'a'"):
        RunConfig(sequences=(SequenceConfig(video="a.mp4"),), matting="bgmv2")
    other = save_torchscript(torch.nn.ReLU(), tmp_path / "other.pth")
    with pytest.raises((AssetError, RuntimeError)):
        make_matter("bgmv2", plate=plate, weights=str(other)).alpha(np.zeros((8, 8, 3), np.uint8))
