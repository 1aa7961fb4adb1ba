"""What docs/migration.md says of raytrack is so: commands, options, keys and files exist; no VHAP name is left out."""

import dataclasses
import json
import re
import shlex
import typing
from pathlib import Path

import numpy as np
import pytest
import synthetic_track
import tyro
import yaml

from raytrack import cli
from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import ConfigError
from raytrack.export.config import ExportConfig
from raytrack.export.formats import write_dataset
from raytrack.fit import track as track_module
from raytrack.fit.flame_track import FLAME_TRACK_FILE, TEXTURE_SIZE
from raytrack.fit.npz import read_npz
from raytrack.head.model import FLAME_FAMILY
from raytrack.mapping import from_mapping
from raytrack.pipeline.stages_track import track_path
from raytrack.tables.keys import union_name

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROSE = BLOCK.sub("", PAGE)
SPAN = re.compile(r"`([^`\n]+)`")
LISTED = "sequences[]."

VHAP_KEYS = {
    "data": "root_folder sequence subject _target division subset calibrated align_cameras_to_axes "
    "camera_convention_conversion camera_coord_conversion target_extrinsic_type n_downsample_rgb scale_factor "
    "background_color use_alpha_map use_landmark landmark_source landmark_detector_njobs use_color_correction "
    "image_size_during_calibration",
    "model": "n_shape n_expr n_tex use_static_offset use_dynamic_offset add_teeth remove_lip_inside tex_resolution "
    "tex_painted tex_extra residual_tex tex_clusters occluded flame_params_path",
    "render": "backend use_opengl background_train background_eval disturb_rate_fg disturb_rate_bg lighting_type "
    "lighting_space",
    "lr": "base translation expr static_offset dynamic_offset camera light",
    "w": "landmark always_enable_jawline_landmarks photo reg_shape reg_neck reg_jaw reg_eyes reg_expr "
    "prior_neck prior_jaw prior_eyes reg_tex_res reg_tex_res_clusters reg_tex_res_for reg_tex_tv reg_tex_pca reg_light "
    "reg_diffuse reg_offset reg_offset_relax_coef reg_offset_relax_for reg_offset_lap reg_offset_lap_relax_coef "
    "reg_offset_lap_relax_for reg_offset_rigid reg_offset_rigid_for reg_offset_dynamic blur_iter smooth_trans "
    "smooth_rot smooth_neck smooth_jaw smooth_eyes smooth_expr",
    "pipeline": "lmk_init_rigid.num_steps lmk_init_all.num_steps lmk_sequential_tracking.num_steps "
    "lmk_global_tracking.num_epochs rgb_init_texture.num_steps rgb_init_all.num_steps rgb_init_offset.num_steps "
    "rgb_sequential_tracking.num_steps rgb_global_tracking.num_epochs <stage>.optimizable_params "
    "<stage>.disable_jawline_landmarks <stage>.align_texture_except <stage>.align_boundary_except",
    "log": "interval_scalar interval_media image_format view_indices max_num_views stack_views_in_rows",
    "exp": "output_folder reuse_landmarks keyframes photometric",
    "": "begin_stage begin_frame_idx begin_timestep batch_size async_func device",
}
VHAP_OPTIONS = (
    "--input --target_fps --downsample_scales --matting_method --background_folder --src_folder --tgt_folder --subset "
    "--scale_factor --background-color --flame_mode --create_mask_from_mesh --epoch --src_folders --division_mode "
    "--param_path --tex_path --no-shade-smooth"
)
VHAP_PROGRAMS = (
    "preprocess_video track track_nersemble track_nersemble_v2 export_as_nerf_dataset combine_nerf_datasets "
    "flame_viewer flame_editor generate_flame_uvmask"
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def spans(self, *columns: int) -> list[str]:
        """What stands in backticks in some columns."""
        return [span for row in self.rows for column in columns for span in SPAN.findall(row[column])]


def read_tables() -> list[Table]:
    """The page's tables."""
    tables = []
    for text in re.findall(r"(?:^\|.*\n)+", PROSE, re.MULTILINE):
        rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.splitlines()]
        tables.append(Table(titles=rows[0], rows=tuple(rows[2:])))
    return tables


TABLES = read_tables()
NAME_TABLES = [table for table in TABLES if table.titles == ("VHAP", "raytrack", "remarks")]
FILE_TABLES = [table for table in TABLES if table.titles == ("VHAP", "raytrack", "what differs")]
OWN_NAMES = sorted({span for table in NAME_TABLES for span in table.spans(1, 2)})
BLOCK_COMMANDS = [
    line for kind, text in BLOCK.findall(PAGE) if kind == "bash" for line in text.replace("\\\n", " ").splitlines()
]


def titled(title: str) -> Table:
    """The table whose first title this is."""
    (table,) = (table for table in TABLES if table.titles[0] == title)
    return table


def options() -> set[str]:
    """Every option of every command."""
    fields = [
        item for command in (*typing.get_args(cli.Command), cli.ImportFlame) for item in dataclasses.fields(command)
    ]
    return {"--" + item.name.replace("_", "-") for item in fields}


def commands() -> set[str]:
    """Every command."""
    names = {re.sub(r"(?<!^)(?=[A-Z])", "-", command.__name__).lower() for command in typing.get_args(cli.Command)}
    return names | {"assets import-flame", "assets list"}


def check_key(text: str) -> None:
    """Refuse what is no key of a job file, or a value that the key does not take."""
    key, _, value = text.partition(": ")
    listed = key.startswith(LISTED)
    names = key.removeprefix(LISTED).split(".")
    kind: typing.Any = SequenceConfig if listed else RunConfig
    for name in names:
        assert dataclasses.is_dataclass(kind), f"{key}: {name} is below a plain value"
        hints = typing.get_type_hints(kind)
        assert name in hints, f"{key}: {name} is not a key"
        inner = [hint for hint in typing.get_args(hints[name]) if dataclasses.is_dataclass(hint)]
        kind = inner[0] if inner else hints[name]
    if not value:
        return
    nested = yaml.safe_load(value)
    for name in reversed(names):
        nested = {name: nested}
    if listed:
        footage = {} if "video" in nested else {"root": "data"} if "root" not in nested else {}
        footage |= {"dataset": "nersemble-v2"} if "root" in {*footage, *nested} and "dataset" not in nested else {}
        from_mapping(SequenceConfig, {**footage, **nested}, where=text)
    else:
        from_mapping(RunConfig, nested, where=text)


def check_command(text: str) -> None:
    """Refuse a command that is not there, or that the command line would not take."""
    arguments = shlex.split(text)[1:]
    if " ".join(arguments) not in commands():
        tyro.cli(cli.Command, args=arguments, prog="raytrack")


def check_name(text: str) -> None:
    """Refuse what raytrack does not have."""
    if text.startswith("raytrack "):
        check_command(text)
    elif text.startswith("--"):
        assert text.split(maxsplit=1)[0] in options()
    elif "/" in text or text.endswith((".obj", ".yaml", ".json", ".npz")):
        assert f"`{text}" in README or text in {"canonical.obj"}
    else:
        check_key(text)


@pytest.mark.parametrize("name", OWN_NAMES)
def test_what_stands_for_a_vhap_name_exists(name):
    check_name(name)


@pytest.mark.parametrize(
    "name", ["--no-such", "track.no_such", "track.seed.deeper", "matting: star", "raytrack traec", "sequences[].no"]
)
def test_what_does_not_exist_would_be_seen(name):
    with pytest.raises((AssertionError, ConfigError, SystemExit)):
        check_name(name)


def test_every_row_says_what_to_do():
    assert len(NAME_TABLES) >= 10
    for table in NAME_TABLES:
        for row in table.rows:
            assert len(row) == 3, row
            assert SPAN.search(row[1]) or (row[1] in {"not needed", "not there"} and row[2]), row


def test_no_name_of_vhap_is_left_out():
    named = {span.split()[0] for table in NAME_TABLES for span in table.spans(0)}
    keys = {f"{group}.{key}".lstrip(".") for group, names in VHAP_KEYS.items() for key in names.split()}
    assert not sorted(keys - named)
    assert not sorted(set(VHAP_OPTIONS.split()) - named)
    assert not [name for name in VHAP_PROGRAMS.split() if f"vhap/{name}.py" not in named]


def test_defaults_of_the_vhap_preset_are_those_the_page_says():
    assert "`batch_size` (16)" in PAGE
    vhap = RunConfig().track.vhap
    assert (vhap.batch_size, vhap.texture_size, vhap.perturb_background) == (16, 2048, 0.5)


@pytest.mark.parametrize("line", BLOCK_COMMANDS)
def test_commands_in_blocks_are_understood(line):
    assert line.startswith("raytrack ")
    check_command(line)


@pytest.mark.parametrize("text", [text for kind, text in BLOCK.findall(PAGE) if kind == "yaml"])
def test_job_files_are_valid(text):
    config = from_mapping(RunConfig, yaml.safe_load(text), where="migration.md")
    assert config.sequences
    assert config.head == "flame2023"


def test_names_in_the_text_exist():
    text = "\n".join(line for line in PROSE.splitlines() if not line.startswith("|"))
    spans = SPAN.findall(text)
    fields = {item.name for item in dataclasses.fields(RunConfig)} | {"sequences[]"}
    for span in spans:
        if span.startswith("raytrack ") and "…" not in span:
            check_command(span)
        elif span.startswith("--") and not span.startswith("--a."):
            for word in re.findall(r"--[\w-]+", span):
                assert word in options(), span
        elif span.split(".")[0] in fields and "." in span:
            check_key(span)


def test_links_lead_somewhere():
    titles = re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", PROSE)) <= anchors
    files = re.findall(r"\]\(([^)#]+)\)", PROSE)
    assert files
    assert not [name for name in files if not (ROOT / "docs" / name).is_file()]


def test_files_of_a_run_are_those_of_the_readme():
    for table in FILE_TABLES:
        for span in table.spans(1):
            if span.startswith("raytrack "):
                check_command(span)
                continue
            parts = [part for part in span.split("/") if part and "%" not in part]
            own = {"images_2", union_name("<subject>")}
            assert not [part for part in parts if part not in README and part not in own], span


def track_arrays() -> set[str]:
    """The arrays that a track's file may hold, as the module that writes it lists them."""
    _, table, _ = re.split(r"^=+ .*$", track_module.__doc__ or "", flags=re.MULTILINE)
    return {name for line in table.splitlines() for name in line.partition("  ")[0].split()}


def test_arrays_of_a_track_are_as_listed(tmp_path):
    head, table = synthetic_track.head(), titled("key")
    synthetic_track.make_track().save(tmp_path / "t.npz", base_albedo=head.albedo)
    written = set(read_npz(tmp_path / "t.npz"))
    named = set(table.spans(0))
    assert written <= named
    assert named == track_arrays()


def test_flame_heads_have_vhaps_own_file():
    (table,) = (table for table in FILE_TABLES if f"<output_folder>/<date>/{FLAME_TRACK_FILE}" in table.spans(0))
    (row,) = (row for row in table.rows if FLAME_TRACK_FILE in row[0])
    assert SPAN.findall(row[1]) == [f"tracks/<sequence>/{FLAME_TRACK_FILE}", track_path("<sequence>")]
    (extra,) = (row for row in titled("key").rows if row[0] == "`tex_extra`")
    assert f"(3, {TEXTURE_SIZE}, {TEXTURE_SIZE}) in `{FLAME_TRACK_FILE}`" in extra[2]


def test_datasets_are_as_listed(tmp_path):
    size, level = (48, 48), 128
    head = dataclasses.replace(synthetic_track.head(), family=FLAME_FAMILY)
    track = synthetic_track.make_track(3, size)
    picture = np.full((*size, 3), level, np.uint8)
    views = synthetic_track.make_views(track, load_image=lambda _: picture, load_alpha=lambda _: picture[..., 0])
    write_dataset(track, head, tmp_path / "d", ExportConfig(), views=views)
    files = {path.relative_to(tmp_path / "d").as_posix() for path in (tmp_path / "d").rglob("*") if path.is_file()}
    templates = set(titled("in the folder").spans(0)) | {"flame_param/%05d.npz"}
    expected = set()
    for template in templates:
        counts = [()] if "%" not in template else [(t, 0)[: template.count("%")] for t in range(3)]
        expected |= {template % count for count in counts}
    assert files == expected
    document = json.loads((tmp_path / "d" / "transforms_train.json").read_text())
    named = set(titled("in a transforms file").spans(0))
    assert set(document["frames"][0]) <= named
    assert named - set(document["frames"][0]) <= set(document)
