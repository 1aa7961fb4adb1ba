import numpy as np
import pytest

from raytrack.head.library import load_head
from raytrack.head.regions import PERTURBATION_REGIONS, HeadGeometry, complete_regions, face_region_index

PROMISED = (
    "scalp hair face skin neck neck_upper neck_lower boundary bottomline bust left_ear right_ear ears left_eyeball "
    "right_eyeball eyeballs irises sclerae eyelids eye_region sockets lips lips_tight teeth_upper teeth_lower teeth "
    "tongue mouth_interior nose forehead left_half right_half left_eye right_eye left_eyelids right_eyelids"
)


@pytest.fixture(scope="module")
def regions() -> dict[str, np.ndarray]:
    return {name: mask.numpy() for name, mask in load_head().regions.items()}


@pytest.fixture(scope="module")
def geometry() -> HeadGeometry:
    head = load_head()
    return HeadGeometry(
        vertices=head.template.numpy(),
        faces=head.faces.numpy(),
        eye_centres=head.joints[3:5].numpy(),
        root_share=head.skin_weights[:, 0].numpy(),
    )


@pytest.fixture(scope="module")
def mirror(geometry) -> np.ndarray:
    """Each vertex's mirror image, by position; doubled vertices are told apart by their faces."""
    from raytrack.assets import asset_path

    with np.load(asset_path("head/head.npz"), allow_pickle=False) as archive:
        return archive["vertex_mirror"].astype(np.int64)


@pytest.mark.parametrize("name", PROMISED.split())
def test_region_is_there_and_neither_empty_nor_everything(regions, name):
    assert 0 < regions[name].sum() < len(regions[name])


def test_template_is_symmetric_under_the_mirror(geometry, mirror):
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    np.testing.assert_allclose(geometry.vertices[mirror] * [-1, 1, 1], geometry.vertices, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in PROMISED.split() if not name.startswith(("left_", "right_"))])
def test_unsided_regions_are_symmetric(regions, mirror, name):
    differing = (regions[name][mirror] != regions[name]).sum()
    assert differing <= 0.01 * regions[name].sum(), f"{differing} vertices"


@pytest.mark.parametrize("name", ["ear", "eyeball", "eyelids", "eye_region", "half", "iris", "sclera", "socket"])
def test_sided_regions_are_each_others_mirror_image(regions, mirror, geometry, name):
    left, right = regions[f"left_{name}"], regions[f"right_{name}"]
    assert (left[mirror] == right).mean() > 0.999
    assert geometry.vertices[left, 0].mean() > 0 > geometry.vertices[right, 0].mean(), "the subject's left is +x"


def test_perturbation_regions_do_not_overlap(regions):
    count = np.sum([regions[name] for name in PERTURBATION_REGIONS], axis=0)
    assert count.max() == 1


def test_perturbation_regions_cover_nearly_all_faces(regions, geometry):
    index = face_region_index(geometry.faces, regions)
    assert (index >= 0).mean() > 0.95
    assert set(np.unique(index)) == {-1, *range(len(PERTURBATION_REGIONS))}


def test_a_face_belongs_to_a_region_when_all_its_corners_do(regions, geometry):
    index = face_region_index(geometry.faces, regions)
    teeth = PERTURBATION_REGIONS.index("teeth")
    assert regions["teeth"][geometry.faces[index == teeth]].all()
    touching = regions["teeth"][geometry.faces].all(axis=1)
    assert ((index == teeth) == touching).all()


def test_irises_and_sclerae_make_up_the_eyeballs(regions):
    assert (regions["irises"] | regions["sclerae"] == regions["eyeballs"]).all()
    assert not (regions["irises"] & regions["sclerae"]).any()


def test_skin_is_what_the_other_perturbation_regions_leave(regions):
    others = np.any([regions[name] for name in ("eyeballs", "hair", "lips_tight", "boundary", "teeth")], axis=0)
    assert (regions["skin"] == ~others).all()


def test_parts_lie_where_their_names_say(regions, geometry):
    height = {name: geometry.vertices[mask, 1].mean() for name, mask in regions.items() if mask.any()}
    order = ("forehead", "nose", "lips", "neck_upper", "neck_lower", "bottomline")
    assert [height[name] for name in order] == sorted((height[name] for name in order), reverse=True)
    assert height["bust"] < height["neck_upper"]
    assert regions["bust"][regions["bottomline"]].all()
    assert regions["lips"][regions["lips_tight"]].all()


def test_bottomline_is_the_open_edge_of_the_bust(regions, geometry):
    lowest = geometry.vertices[~regions["bottomline"], 1].min()
    assert geometry.vertices[regions["bottomline"], 1].min() < lowest
    assert regions["boundary"][regions["bottomline"]].all()


def test_derived_regions_come_out_like_the_painted_ones(regions, geometry):
    """The rules for heads that list only basic masks agree with this head's own, finer masks."""
    basic = "face neck scalp lips left_eyeball right_eyeball left_eye_region right_eye_region left_ear right_ear"
    extra = "left_socket right_socket mouth_interior teeth_upper teeth_lower tongue"
    derived = complete_regions({name: regions[name] for name in f"{basic} {extra}".split()}, geometry)
    for name, least in (("left_iris", 0.95), ("sclerae", 0.95), ("hair", 1.0), ("bottomline", 1.0), ("eyelids", 0.6)):
        shared = (derived[name] & regions[name]).sum() / (derived[name] | regions[name]).sum()
        assert shared >= least, f"{name}: {shared:.2f}"
    assert derived["lips"][derived["lips_tight"]].all()
    assert derived["lips_tight"].sum() > 0.5 * regions["lips_tight"].sum()


def test_listed_regions_are_kept_as_they_are(regions, geometry):
    listed = {name: mask.copy() for name, mask in regions.items()}
    listed["hair"] = np.zeros_like(listed["hair"])
    assert not complete_regions(listed, geometry)["hair"].any()


def test_missing_basic_masks_are_named(regions, geometry):
    with pytest.raises(ValueError, match="scalp"):
        complete_regions({name: mask for name, mask in regions.items() if name != "scalp"}, geometry)


def test_a_closed_head_has_no_bottom_edge(regions):
    octahedron = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    names = "face neck scalp lips left_eyeball right_eyeball left_eye_region right_eye_region left_ear right_ear"
    masks = {name: np.ones(6, bool) for name in names.split()}
    shape = HeadGeometry(
        vertices=points, faces=octahedron, eye_centres=np.zeros((2, 3), np.float32), root_share=np.zeros(6, np.float32)
    )
    with pytest.raises(ValueError, match="open edge"):
        complete_regions(masks, shape)
