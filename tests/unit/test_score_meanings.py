"""Every score is explained, on the command line and in the documentation."""

import re
from pathlib import Path

from raytrack.export.region_scores import OFFSET_MEASURES, OFFSET_REGIONS
from raytrack.tables.schemas import CAMERA_SCORE_NAMES, OFFSET_SCORE_NAMES, SCORE_NAMES
from raytrack.tables.score_meanings import SCORE_MEANINGS, unusual_scores

PAGE = (Path(__file__).parents[2] / "docs" / "scores.md").read_text(encoding="utf-8")
GOOD = {"psnr_db": 28.0, "coverage_above_chin_share": 0.98, "outline_bias_face_percent": -0.4, "held_out_frames": 0}


def test_every_score_has_a_meaning_and_stands_in_the_page():
    assert set(SCORE_MEANINGS) == set(SCORE_NAMES)
    assert set(CAMERA_SCORE_NAMES) < set(SCORE_NAMES)
    named = set(re.findall(r"`([a-z0-9_<>]+)`", PAGE))
    patterns = {f"offset_<region>_{measure}_mm" for measure in OFFSET_MEASURES}
    assert patterns <= named
    assert set(SCORE_NAMES) - set(OFFSET_SCORE_NAMES) <= named
    assert len(OFFSET_SCORE_NAMES) == len(OFFSET_REGIONS) * len(OFFSET_MEASURES)


def test_scores_out_of_their_range_are_worth_a_look():
    assert unusual_scores(GOOD) == []
    assert unusual_scores({**GOOD, "coverage_above_chin_share": 0.6}) == ["coverage_above_chin_share"]
    assert unusual_scores({**GOOD, "outline_bias_face_percent": -3.0}) == ["outline_bias_face_percent"]
    assert unusual_scores({**GOOD, "psnr_db": None}) == []
    assert SCORE_MEANINGS["psnr_db"].usual == ">= 24"
    assert SCORE_MEANINGS["ring_l1"].usual == "<= 0.4"
    assert SCORE_MEANINGS["outline_bias_face_percent"].usual == "-1 … 1"
