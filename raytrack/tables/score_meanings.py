"""What each score means, in a few words, and where a person should look when it is out of its range.

The ranges are no verdict: footage differs. They lie where tracks of the clips that raytrack was measured with look
right, and say which scores are worth a look.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ScoreMeaning:
    """One score."""

    words: str
    least: float | None = None
    """Worth a look below it."""
    most: float | None = None
    """Worth a look above it."""
    is_signed: bool = False
    """Whether it is worth a look below the negative of `most` too."""

    def is_usual(self, value: float) -> bool:
        """Whether a value lies in the range."""
        size = abs(value) if self.is_signed else value
        return (self.least is None or value >= self.least) and (self.most is None or size <= self.most)

    @property
    def usual(self) -> str:
        """The range in words; empty where there is none."""
        if self.least is not None:
            return f">= {self.least:g}"
        if self.most is None:
            return ""
        return f"{-self.most:g} … {self.most:g}" if self.is_signed else f"<= {self.most:g}"


_REGIONS = {
    "face": "face, with eyes and mouth",
    "eyes": "eyes and what surrounds them",
    "mouth": "lips and the inside of the mouth",
    "hair": "hair",
    "ears": "ears",
    "neck": "neck",
    "bust": "bust: mostly clothes",
}
_OFFSETS_MM = {"face": 8.0, "hair": 30.0, "ears": 12.0, "neck": 12.0, "bust": 25.0}


def _colours() -> dict[str, ScoreMeaning]:
    return {
        "psnr_db": ScoreMeaning(words="colours, over the pixels that the render covers", least=24),
        "l1": ScoreMeaning(words="mean absolute colour error (0 … 1) there", most=0.04),
        "worst_l1": ScoreMeaning(words="the same of the worst frame", most=0.06),
        **{f"psnr_{name}_db": ScoreMeaning(words=f"colours of the {words}") for name, words in _REGIONS.items()},
    }


def _outline() -> dict[str, ScoreMeaning]:
    return {
        "coverage": ScoreMeaning(words="share of the matte above the neck line that the render covers"),
        "coverage_above_chin_share": ScoreMeaning(words="share of the matte above the chin, covered", least=0.95),
        "coverage_whole_share": ScoreMeaning(words="share of the whole matte, clothes included, covered"),
        "overreach_above_chin_share": ScoreMeaning(words="share of the render above the chin, not matte", most=0.03),
        "outline_error_px": ScoreMeaning(words="mean distance of the render's outline and the matte's, above the chin"),
        "outline_error_face_percent": ScoreMeaning(words="the same in per cent of the face's size", most=1.5),
        "outline_bias_face_percent": ScoreMeaning(
            words="the same with sign: > 0 where the render is larger", most=1, is_signed=True
        ),
        "ring_l1": ScoreMeaning(words="colour error around both outlines; 1 where only one covers a pixel", most=0.4),
    }


def _frames() -> dict[str, ScoreMeaning]:
    return {
        "landmark_error_px": ScoreMeaning(words="mean distance of landmarks to the detected ones"),
        "jitter_px": ScoreMeaning(words="how much landmarks shake from frame to frame"),
        "psnr_even_frames_db": ScoreMeaning(words="colours of frames 0, 2, 4 …"),
        "psnr_odd_frames_db": ScoreMeaning(words="colours of frames 1, 3, 5 …"),
        "psnr_fitted_frames_db": ScoreMeaning(words="colours of the frames that were not held out"),
        "psnr_held_out_frames_db": ScoreMeaning(words="colours of those that what is shared has not seen"),
        "psnr_held_out_cameras_db": ScoreMeaning(words="colours of the cameras that nothing was fitted to"),
        "held_out_frames": ScoreMeaning(words="how many frames were held out"),
    }


def _offsets() -> dict[str, ScoreMeaning]:
    meanings = {}
    for name, limit in _OFFSETS_MM.items():
        meanings[f"offset_{name}_mean_mm"] = ScoreMeaning(words=f"mean length of static offsets, {name}")
        meanings[f"offset_{name}_p95_mm"] = ScoreMeaning(words="their 95th percentile", most=limit)
        meanings[f"offset_{name}_max_mm"] = ScoreMeaning(words="the longest one")
    return meanings


SCORE_MEANINGS: Mapping[str, ScoreMeaning] = {**_colours(), **_outline(), **_frames(), **_offsets()}
"""By the names of `raytrack.tables.schemas.SCORE_NAMES`."""


def unusual_scores(scores: Mapping[str, Any]) -> list[str]:
    """Names of the scores that are worth a look."""
    return [
        name
        for name, meaning in SCORE_MEANINGS.items()
        if scores.get(name) is not None and not meaning.is_usual(scores[name])
    ]
