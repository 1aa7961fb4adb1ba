"""The device that an item's networks and renderers run on."""

import logging

from raytrack.errors import AssetError
from raytrack.pipeline.stage import StageContext

logger = logging.getLogger(__name__)


def torch_device(context: StageContext) -> str:
    """The device as torch names it.

    Raises:
        AssetError: A GPU must be used, and this node's torch sees none.
    """
    if context.device == "cpu":
        return "cpu"
    import torch  # noqa: PLC0415 (heavy; the driver needs none)

    if torch.cuda.is_available():
        return "cuda"
    fault = f"torch {torch.__version__} sees no CUDA device on this node"
    if context.device == "cuda":
        raise AssetError(f"{fault}: install a CUDA build of torch and NVIDIA's driver there, or take `device: cpu`")
    logger.warning("%s: stage %s runs on its CPU", fault, context.stage)
    return "cpu"
