"""Networks that their users installed as TorchScript files."""

from pathlib import Path

import torch

from raytrack.errors import AssetError


def load_torchscript(path: Path, wanted: str, device: str = "cpu") -> torch.jit.ScriptModule:
    """Load a network for inference.

    Args:
        path: The file.
        wanted: Which file it should be, for the message where it is another.
        device: Where it runs, as torch names devices.

    Raises:
        AssetError: The file is not TorchScript.
    """
    try:
        return torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise AssetError(f"{path}: not a TorchScript file ({reason}). Get {wanted}") from error
