"""Scores of parts of the head: colours by region, offsets in millimetres."""

import numpy as np
import pytest
import torch
from synthetic_track import head, make_image, make_track

from raytrack.export.region_scores import (
    SCORED_REGIONS,
    offset_scores,
    region_errors,
    region_faces,
    region_mse,
    region_vertices,
)
from raytrack.fit.painting import FramePainter
from raytrack.tables.schemas import OFFSET_SCORE_NAMES, PICTURE_SCORE_NAMES


def test_every_region_exists_and_has_a_score_of_its_name():
    for name in SCORED_REGIONS:
        assert region_vertices(head(), name).sum() > 100
        assert f"psnr_{name}_db" in PICTURE_SCORE_NAMES
    names = list(SCORED_REGIONS)
    face, hair, neck, bust = (region_vertices(head(), name) for name in ("face", "hair", "neck", "bust"))
    assert not (face & hair).any()
    assert not (neck & bust).any()
    assert region_faces(head()).shape == (len(names), len(head().faces))


def test_an_error_in_the_hair_is_the_hairs_alone():
    track = make_track(num_frames=1, size_hw=(120, 96))
    image = make_image(0, (120, 96))
    painted = FramePainter(track, head()).paint(0, image)
    members = region_faces(head())
    hair = members[list(SCORED_REGIONS).index("hair")][painted.face_index] & painted.mask
    assert hair.sum() > 50
    wrong = image.copy()
    wrong[hair] = np.where(image[hair] > 127, image[hair] - 51, image[hair] + 51)
    found = region_mse([region_errors(image, wrong, painted.face_index, members)])
    assert found["hair"] == pytest.approx(0.04)
    assert found["face"] == found["neck"] == found["eyes"] == found["mouth"] == found["ears"] == 0


def test_regions_are_pooled_over_all_their_pixels():
    members = np.zeros((len(SCORED_REGIONS), 4), bool)
    members[0, :2] = True
    grey = np.full((1, 4, 3), 100, np.uint8)
    shown = np.array([[0, 1, 2, -1]])
    large = np.array([[[151] * 3, [100] * 3, [0] * 3, [0] * 3]], np.uint8)
    first = region_errors(grey, large, shown, members)
    second = region_errors(grey, grey, np.array([[0, 0, 0, 1]]), members)
    found = region_mse([first, second])
    assert found["face"] == pytest.approx(0.2**2 / 6)
    assert found["hair"] is None
    assert set(region_mse([]).values()) == {None}


def test_offsets_are_measured_in_millimetres_by_region():
    offset = torch.zeros(1, head().num_vertices, 3)
    bust = torch.from_numpy(region_vertices(head(), "bust"))
    offset[0, bust] = torch.tensor([0.003, 0.0, 0.004])
    offset[0, torch.nonzero(bust)[0]] = torch.tensor([0.0, 0.02, 0.0])
    scores = offset_scores(head(), offset)
    assert set(scores) == set(OFFSET_SCORE_NAMES)
    assert scores["offset_bust_p95_mm"] == pytest.approx(5)
    assert scores["offset_bust_max_mm"] == pytest.approx(20)
    assert 5 < scores["offset_bust_mean_mm"] < 5.2
    assert scores["offset_face_max_mm"] == 0
    assert set(offset_scores(head(), None).values()) == {0.0}
