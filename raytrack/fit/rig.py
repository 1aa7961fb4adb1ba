"""A camera of a rig, as a track and its exports name it."""

from dataclasses import dataclass

from raytrack.geometry.camera import Camera

MONOCULAR_INDEX, MONOCULAR_ID = 0, "0"


@dataclass(frozen=True, kw_only=True, eq=False)
class RigCamera:
    """One camera with its place and name in the rig."""

    index: int
    """Its place in the rig, whichever of the rig's cameras are used."""
    id: str
    """What the dataset calls it."""
    camera: Camera
    """Of the pictures that are tracked, in the tracker's world; float32 tensors on the CPU, no batch dimension."""
