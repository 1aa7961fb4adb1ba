"""What the command line takes: each command and its options, and the configuration that they ask for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import tyro

from raytrack.config import RunConfig
from raytrack.errors import ConfigError
from raytrack.export.config import DatasetFormatName
from raytrack.job import load_job, resolved
from raytrack.mapping import from_mapping
from raytrack.observe.config import LandmarkMethod, MattingMethod

_JOB_SUFFIXES = {".yaml", ".yml"}

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help_behavior_hint="")]


def _shown(metavar: str) -> Any:
    """How an option appears in the help: no default, for what is not given comes from the job file."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options of every command that works on footage. What is not given comes from the job file, else the default."""

    targets: ClassVar[tuple[str, ...]]
    """Stages to carry out, with those that they need."""
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, _shown("VIDEO|FOLDER|JOB.yaml ...")]
    """Videos or folders of images, or one job file."""
    out: Path
    """Where everything goes. Running again goes on where an earlier run stopped."""
    head: Annotated[str | None, _shown("NAME|FILE")] = None
    """Head model: default, one imported with `raytrack assets import-flame` (such as flame2023), or a head file."""
    preset: Annotated[Literal["default", "vhap"] | None, _shown("default|vhap")] = None
    """How the tracker works: Gauss-Newton in rounds (default), or VHAP's Adam schedule."""
    no_static_offset: Flag = False
    """Keep to the head's own shapes; hair then counts as occluded."""
    landmarks_only: Flag = False
    """Track by landmarks alone, without photometry."""
    occluded: Annotated[tuple[str, ...], _shown("REGION ...")] = ()
    """Head regions that are hidden, such as hair or neck_lower."""
    matting: Annotated[MattingMethod | None, _shown("|".join(get_args(MattingMethod)))] = None
    """How the person is told from the background."""
    rig: Flag = False
    """The videos show one head, filmed at the same time by cameras that stand still; their places are found out."""
    name: Annotated[str | None, _shown("NAME")] = None
    """What to call the sequence of one video or rig; by default after its files."""
    masks: Annotated[str | None, _shown("FOLDER")] = None
    """Folder of masks for --matting given, one image per frame; of a rig, with a folder cam_<camera> for each video,
    such as cam_left for left.mp4."""
    plate: Annotated[str | None, _shown("IMAGE")] = None
    """Picture of the empty scene for --matting plate or bgmv2."""
    matting_weights: Annotated[str | None, _shown("FILE")] = None
    """Weights of --matting rvm or bgmv2; by default those in $RAYTRACK_ASSETS/rvm or /bgmv2."""
    landmarks: Annotated[LandmarkMethod | None, _shown("|".join(get_args(LandmarkMethod)))] = None
    """What finds the face."""
    landmark_weights: Annotated[str | None, _shown("FILE")] = None
    """Weights of --landmarks star; by default those in $RAYTRACK_ASSETS/star."""
    background_color: Annotated[Literal["white", "black", "transparent"] | None, _shown("white|black|transparent")] = (
        None
    )
    """Background of the exported images."""
    formats: Annotated[tuple[DatasetFormatName, ...], _shown(f"{'|'.join(get_args(DatasetFormatName))} ...")] = ()
    """Formats of the dataset; gaussian-avatars needs a FLAME head."""
    target_fps: Annotated[float | None, _shown("FPS")] = None
    """Take so many frames a second."""
    downsample_scales: Annotated[tuple[int, ...], _shown("INT ...")] = ()
    """Also keep the frames at 1/2, 1/4 ... of their size."""
    downsample: Annotated[int | None, _shown("INT")] = None
    """Work at 1/n of the size; for datasets of calibrated cameras."""
    subjects: Annotated[tuple[str, ...], _shown("PATTERN ...")] = ()
    """Take only these of the job's subjects: names, or patterns such as "0*"."""
    sequences: Annotated[tuple[str, ...], _shown("PATTERN ...")] = ()
    """Take only these of the job's sequences: names, or patterns such as "EMO-*"."""
    focal_px: Annotated[float | None, _shown("PX")] = None
    """The camera's focal length in pixels of the input, where it is known; it applies to every video, and not to rigs.
    """
    seed: Annotated[int | None, _shown("INT")] = None
    """Decides every random choice."""
    cpus: Annotated[int | None, _shown("INT")] = None
    """CPUs to use; all by default."""
    sequential: Flag = False
    """Work in one process, without Ray."""
    quiet: Flag = False
    """Say only what failed."""


@dataclass(frozen=True, kw_only=True)
class Run(JobOptions):
    """Track the heads in videos and export them as datasets."""

    targets: ClassVar[tuple[str, ...]] = ("downsample", "render", "export")


@dataclass(frozen=True, kw_only=True)
class Preprocess(JobOptions):
    """Take the frames out of videos, and find mattes and landmarks."""

    targets: ClassVar[tuple[str, ...]] = ("downsample", "alphas", "landmarks")


@dataclass(frozen=True, kw_only=True)
class Track(JobOptions):
    """Preprocess and track."""

    targets: ClassVar[tuple[str, ...]] = ("downsample", "track")


@dataclass(frozen=True, kw_only=True)
class Export(JobOptions):
    """Preprocess, track and write datasets, without final pictures and preview."""

    targets: ClassVar[tuple[str, ...]] = ("downsample", "export")


@dataclass(frozen=True, kw_only=True)
class Submit(JobOptions):
    """Send a job to a Ray cluster, and follow it to its end; the exit code is the run's own.

    Footage is not sent: its paths, like OUT's, mean what every node of the cluster sees there, such as a shared file
    system. Relative paths in the job file are taken from where the job file lies here.
    """

    targets: ClassVar[tuple[str, ...]] = ()
    address: Annotated[str, _shown("URL")] = ""
    """The cluster's dashboard, http://HOST:8265; by default $RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265."""
    command: Annotated[Literal["run", "preprocess", "track", "export"], _shown("run|preprocess|track|export")] = "run"
    """What the cluster is to do; by default run."""
    installed: Flag = False
    """Use the raytrack that is installed on the cluster; by default the one that runs here is sent."""
    install_dependencies: Flag = False
    """Have each node install what raytrack needs first, in the versions that are installed here."""
    no_wait: Flag = False
    """Do not follow the job."""
    stop_on_interrupt: Flag = False
    """On Ctrl-C, stop the job; by default it goes on without being followed."""


@dataclass(frozen=True, kw_only=True)
class Union:
    """Make one dataset of those of a subject's sequences, with whole sequences held out for testing."""

    datasets: Annotated[tuple[Path, ...], tyro.conf.Positional, _shown("DATASET ...")]
    """Folders that `raytrack export` wrote, such as OUT/export/EMO-1."""
    out: Path
    """The union's folder, beside the datasets, for it refers to them as ../SEQUENCE."""
    mode: Literal["random_group", "random_single", "last"] = "random_group"
    """Which sequences test: one in every ten or so, a single one, or the last one named."""
    subject: str = ""
    """Decides what is random; by default the subject of the run that made the datasets."""
    copy: Flag = False
    """Copy the datasets into the union, which may then lie anywhere."""
    link: Flag = False
    """Link the datasets into the union, which may then lie anywhere."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Say how far the work in an output folder is."""

    out: Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Check that what an output folder holds is whole, and say how good it is.

    Each score stands with what it means; those worth a look have a !. The exit code is 1 when something is missing or
    damaged.
    """

    out: Annotated[Path, tyro.conf.Positional]
    json: Flag = False
    """Write JSON."""


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what is missing on this machine, and how to get it."""

    warm: Flag = False
    """Also compile the render kernels, so that the first run does not have to."""


@dataclass(frozen=True, kw_only=True)
class Purge:
    """Remove everything that an output folder holds about one subject."""

    out: Annotated[Path, tyro.conf.Positional]
    subject: str
    """Whose data to remove; `raytrack status` lists the subjects."""


@dataclass(frozen=True, kw_only=True)
class ImportFlame:
    """Make a head for --head out of the FLAME files that you downloaded under FLAME's licence."""

    model: Annotated[Path, _shown("PKL")]
    """flame2023.pkl, flame2023_no_jaw.pkl, flame2023_Open.pkl, or generic_model.pkl of FLAME 2020."""
    masks: Annotated[Path, _shown("PKL")]
    """FLAME_masks.pkl."""
    template: Annotated[Path | None, _shown("OBJ")] = None
    """FLAME's template with its texture coordinates; without it they come from raytrack's own head."""
    landmarks: Annotated[tuple[Path, ...], _shown("FILE ...")] = ()
    """FLAME's landmark embeddings: mediapipe_landmark_embedding.npz, landmark_embedding.npy and the like; what they
    leave out comes from raytrack's own head."""
    texture: Annotated[Path | None, _shown("FILE")] = None
    """A painted texture, or a texture space such as FLAME_texture.npz; goes with --template."""
    name: Annotated[str | None, _shown("NAME")] = None
    """What to call the head; by default after the model's file."""


@dataclass(frozen=True, kw_only=True)
class ListHeads:
    """List the heads that --head knows by name."""


@dataclass(frozen=True, kw_only=True)
class Assets:
    """Import heads that do not ship with raytrack, and list those there are."""

    action: Annotated[
        Annotated[ImportFlame, tyro.conf.subcommand("import-flame")]
        | Annotated[ListHeads, tyro.conf.subcommand("list")],
        tyro.conf.arg(name=""),
    ]


Command = Run | Preprocess | Track | Export | Submit | Union | Status | Validate | Doctor | Purge | Assets


def job_config(options: JobOptions) -> RunConfig:
    """The configuration that a command line asks for.

    Raises:
        ConfigError: The inputs do not go together, or a value is wrong.
    """
    from raytrack.datasets.monocular import distinct_names  # noqa: PLC0415 (heavy, and `raytrack --help` must be quick)

    overrides = option_overrides(options)
    jobs = [name for name in options.inputs if Path(name).suffix.lower() in _JOB_SUFFIXES]
    if not options.inputs:
        raise ConfigError("nothing to do: name a video, a folder of images, or a job file")
    if jobs and len(options.inputs) > 1:
        raise ConfigError(f"give one job file or videos, not both: {', '.join(options.inputs)}")
    if options.rig and (jobs or len(options.inputs) < 2):
        raise ConfigError("--rig goes with two or more videos; in a job file, list them as the `videos` of a sequence")
    for name, value in (("name", options.name), ("masks", options.masks), ("plate", options.plate)):
        if value and (jobs or (len(options.inputs) > 1 and not options.rig)):
            raise ConfigError(f"--{name} goes with one video; in a job file, give each sequence its `{name}`")
    here = not isinstance(options, Submit)
    if jobs:
        return load_job(Path(jobs[0]), overrides, here=here)
    extras = {"masks": options.masks or "", "plate": options.plate or ""}
    if options.rig:
        sequences = [{"videos": list(options.inputs), "name": options.name or "", **extras}]
    else:
        names = (options.name,) if options.name else distinct_names(options.inputs)
        pairs = zip(options.inputs, names, strict=True)
        sequences = [{"video": video, "name": name, **extras} for video, name in pairs]
    config = from_mapping(RunConfig, {**overrides, "sequences": sequences}, where="command line")
    return resolved(config, Path.cwd(), here=here)


def option_overrides(options: JobOptions) -> dict[str, Any]:
    """What the options say, in the shape of a job file; options that were not given say nothing."""
    track: dict[str, Any] = {"preset": options.preset, "seed": options.seed, "focal_px": options.focal_px}
    track |= {"static_offset": False} if options.no_static_offset else {}
    track |= {"landmarks_only": True} if options.landmarks_only else {}
    track |= {"occluded": list(options.occluded)} if options.occluded else {}
    scales = list(options.downsample_scales) or None
    overrides = {
        "head": options.head,
        "matting": options.matting,
        "matting_weights": options.matting_weights,
        "landmarks": {"method": options.landmarks, "weights": options.landmark_weights},
        "extract": {"target_fps": options.target_fps, "downsample_scales": scales},
        "capture": {"downsample": options.downsample},
        "track": track,
        "export": {"background_color": options.background_color, "formats": list(options.formats) or None},
        "pipeline": {"cpus": options.cpus},
    }
    return _given(overrides)


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _given(value) if isinstance(value, dict) else value for key, value in overrides.items()}
    return {key: value for key, value in nested.items() if value is not None and value != {}}


def passed_on(options: JobOptions) -> tuple[str, ...]:
    """Options that are for the cluster to follow; the others are in the job that is sent."""
    given = ["--quiet"] if options.quiet else []
    for name, patterns in (("--subjects", options.subjects), ("--sequences", options.sequences)):
        given += [name, *patterns] if patterns else []
    return tuple(given)
