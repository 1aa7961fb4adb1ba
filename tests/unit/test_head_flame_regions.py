"""Derived regions on FLAME's public topology, which is not part of the project."""

from pathlib import Path

import numpy as np
import pytest

from raytrack.head.regions import HeadGeometry, complete_regions, face_region_index


@pytest.fixture(scope="module")
def flame(shared_folder: Path) -> tuple[HeadGeometry, dict[str, np.ndarray]]:
    folder = shared_folder / "flame_topology"
    if not folder.is_dir():
        pytest.skip("FLAME's topology is not there")
    lines = [line.split() for line in (folder / "head_template_mesh.obj").read_text().splitlines() if line]
    vertices = np.array([[float(word) for word in line[1:4]] for line in lines if line[0] == "v"], np.float32)
    faces = np.array([[int(word.split("/")[0]) - 1 for word in line[1:4]] for line in lines if line[0] == "f"])
    masks = {}
    with np.load(folder / "flame_masks.npz") as archive:
        for name in archive.files:
            masks[name] = np.isin(np.arange(len(vertices)), archive[name])
    centres = np.stack([vertices[masks[f"{side}_eyeball"]].mean(axis=0) for side in ("left", "right")])
    root_share = masks["boundary"].astype(np.float32)
    return HeadGeometry(vertices=vertices, faces=faces, eye_centres=centres, root_share=root_share), masks


def test_all_derived_regions_are_found(flame):
    geometry, masks = flame
    regions = complete_regions(masks, geometry)
    for name in (
        "hair",
        "skin",
        "irises",
        "sclerae",
        "eyelids",
        "lips_tight",
        "bottomline",
        "neck_upper",
        "neck_lower",
    ):
        assert 0 < regions[name].sum() < len(geometry.vertices) * 0.8, name
    assert not regions["teeth"].any(), "FLAME has none of its own"


def test_bottom_edge_is_the_outer_ring_of_flames_boundary(flame):
    geometry, masks = flame
    bottom = complete_regions(masks, geometry)["bottomline"]
    assert bottom.sum() == 30
    assert masks["boundary"][bottom].all()


def test_irises_have_their_natural_size(flame):
    geometry, masks = flame
    regions = complete_regions(masks, geometry)
    for side in ("left", "right"):
        width = np.ptp(geometry.vertices[regions[f"{side}_iris"], 0])
        assert 0.009 < width < 0.013


def test_eyelids_ring_the_eye_in_front(flame):
    geometry, masks = flame
    regions = complete_regions(masks, geometry)
    for side, centre in zip(("left", "right"), geometry.eye_centres, strict=True):
        offset = geometry.vertices[regions[f"{side}_eyelids"]] - centre
        angles = np.degrees(np.arctan2(offset[:, 1], offset[:, 0]))
        assert set(np.floor(angles / 45).astype(int)) == set(range(-4, 4)), "all around"
        assert (offset[:, 2] > 0).all()


def test_perturbation_regions_do_not_overlap(flame):
    geometry, masks = flame
    regions = complete_regions(masks, geometry)
    names = ("skin", "hair", "boundary", "lips_tight", "sclerae", "irises")
    assert np.sum([regions[name] for name in names], axis=0).max() == 1
    assert (face_region_index(geometry.faces, regions) >= 0).mean() > 0.9
