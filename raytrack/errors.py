"""The few kinds of error that a run reports against one sequence or one run."""

from typing import Literal


class RaytrackError(Exception):
    """A fault that is not raytrack's own; the message says what the user can do.

    Attributes:
        kind: What the `failures` table calls it: the footage's fault (`input`) or the machine's (`system`).
        passing: Whether trying again may help.
    """

    kind: Literal["input", "system"] = "input"
    passing: bool = False


class InputError(RaytrackError):
    """The footage of one sequence cannot be used. Other sequences carry on."""


class NoFaceError(InputError):
    """No face was found in any frame of a sequence."""

    def __init__(
        self,
        message: str = "no face was found in any frame: check that the footage shows a face, upright and at least 40 "
        "pixels wide",
    ) -> None:
        super().__init__(message)


class AssetError(RaytrackError):
    """A shipped or installed file is missing, damaged, or not of the expected format."""

    kind = "system"


class ConfigError(RaytrackError):
    """A configuration or command line is wrong. Ends the run with exit code 2."""


class OutputError(RaytrackError):
    """The output folder cannot be written, or belongs to another run. Ends the run with exit code 2."""

    kind = "system"
    passing = True


class NotConvergedError(RaytrackError):
    """The fit of one sequence diverged."""
