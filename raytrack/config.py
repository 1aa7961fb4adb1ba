"""The whole configuration of a run as frozen dataclasses, every range checked.

Each package keeps its own dataclasses in a torch-free ``config.py``; here they are collected. Job files are read by
`raytrack.job`.
"""

import dataclasses
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Literal

from raytrack.datasets.config import CaptureConfig
from raytrack.datasets.nersemble_layout import KINDS
from raytrack.errors import ConfigError
from raytrack.export.config import ExportConfig, UnionConfig
from raytrack.fit.config import TrackConfig
from raytrack.media.config import ExtractConfig
from raytrack.observe.config import LandmarkConfig, MattingMethod, PlateRefinement
from raytrack.tables.keys import SequenceKey, footage_name, identity_name, rig_names, union_name

DEFAULT_HEAD = "default"
IdentityMode = Literal["auto", "joint", "own"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """One sequence of a job: where its footage is and what it is called.

    It is a video, or the videos of several cameras, or part of a dataset.

    Paths are relative to the job file; ``assets:NAME`` is a file that ships with raytrack.
    """

    video: str = ""
    """A video file, or a folder of images."""
    videos: tuple[str, ...] = ()
    """Of two or more cameras that stand still and record the same frames at the same times: where they stand and their
    focal lengths are found with the head. Video files or folders of images; in a table's cell, with `;` between them.
    """
    name: str = ""
    """Names the sequence's folders; by default the video's name, the beginning that the names of several videos share
    (the first one's name where they share none), or subject and sequence of a dataset."""
    dataset: str = "monocular"
    """With `root`: `nersemble-v1` or `nersemble-v2`; else any name."""
    root: str = ""
    """Folder of a dataset. Subject and sequence then say what of it is meant, perhaps many sequences."""
    subject: str = ""
    """Who is seen; by default the sequence's name. Of a dataset: names or patterns (``0*``) separated by spaces; by
    default all."""
    sequence: str = ""
    """Of a dataset: names or patterns separated by spaces; by default all. `EMO-1` means the folder `EMO-1`, else
    `EMO-1-…`."""
    occluded: tuple[str, ...] = ()
    """Head regions that are hidden in this sequence, beside those of `track`. Of a dataset also what its table says."""
    masks: str = ""
    """A folder of foreground masks, one per frame, for `matting: given` or `auto`; of several cameras, with a folder
    `cam_<camera>` for each: by the names of a dataset's cameras, and of `videos` by what tells their names apart
    (`cam_left` for `left.mp4`)."""
    plate: str = ""
    """A picture of the scene without the person, for `matting: plate`, `bgmv2` or `auto`."""
    ground_truth: str = ""
    """What the tracker should have found, where the footage was rendered; adds `ground_truth` to the summary."""

    def __post_init__(self) -> None:
        """Check that it is one kind of sequence or the other.

        Raises:
            ValueError: None or two of them are given, or a dataset is of a kind that is not known.
        """
        if sum(map(bool, (self.video, self.videos, self.root))) != 1:
            raise ValueError(
                "a sequence needs either a `video`, the `videos` of several cameras, or the `root` of a dataset with "
                "what is meant of it"
            )
        if len(self.videos) == 1 or len(set(self.videos)) < len(self.videos):
            raise ValueError(f"`videos` are those of two or more cameras, got {', '.join(self.videos)}")
        if self.root and self.dataset not in KINDS:
            raise ValueError(f"a `root` needs a `dataset` that is {' or '.join(KINDS)}, got {self.dataset!r}")
        if self.sequence and not self.root:
            raise ValueError(f"`sequence` {self.sequence!r} needs the `root` of a dataset; a video has a `name`")
        if self.plate and self.root:
            raise ValueError(
                f"`plate` {self.plate!r} is for a video; a dataset's cameras have clean plates of their own"
            )
        if self.plate and self.videos:
            raise ValueError(f"`plate` {self.plate!r} is for one video, not for several cameras")

    @property
    def footage(self) -> str:
        """Where it comes from, for people."""
        return self.video or " ".join(self.videos) or self.root

    @property
    def is_rig(self) -> bool:
        """Whether it was recorded by the cameras of a rig, calibrated or not."""
        return bool(self.root or self.videos)

    @property
    def is_calibrated(self) -> bool:
        """Whether it was recorded by calibrated cameras."""
        return bool(self.root)

    @property
    def is_pattern(self) -> bool:
        """Whether it may mean several sequences, and has no key yet; see `expanded`."""
        return bool(self.root) and not (self.name and self.subject and self.sequence)

    @property
    def key(self) -> SequenceKey:
        """Dataset, subject and sequence names.

        Raises:
            ConfigError: A name cannot name a folder.
        """
        name = self.name or (rig_names(self.videos)[0] if self.videos else footage_name(self.video))
        return SequenceKey(dataset=self.dataset, subject=self.subject or name, sequence=name)


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """How the work is cut up and carried out. Nothing here but `chunk_frames` can change a result."""

    chunk_frames: int = 256
    """Frames of one task in the stages that work on frames one by one."""
    cpus: int | None = None
    """CPUs that a local run may use; all by default. On a cluster, the cluster decides."""
    track_cpus: int | None = None
    """CPUs that each of a sequence's long steps (tracking, pictures, dataset) may use; fewer where no node has as many.
    By default, all CPUs divided by the sequences that run at once."""
    device: Device = "auto"
    """Where the networks for mattes and landmarks run: `cuda` waits for a GPU, `auto` takes one where there is one now.
    Tracking uses a GPU with `track.renderer: nvdiffrast`. On a GPU, results differ by rounding."""
    time_limit_factor: float = 1.0
    """Multiplies every stage's time limit."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: A value is out of its range.
        """
        if self.chunk_frames < 1:
            raise ValueError(f"pipeline.chunk_frames must be positive, got {self.chunk_frames}")
        if not 0 < self.time_limit_factor <= 1000:
            raise ValueError(f"pipeline.time_limit_factor must lie in (0, 1000], got {self.time_limit_factor}")
        for name in ("cpus", "track_cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"pipeline.{name} must be at least 1, got {value}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run is told."""

    sequences: tuple[SequenceConfig, ...] = ()
    manifest: str = ""
    """A file that lists further sequences: a table (.csv) whose columns are named as their settings, or a list (.yaml,
    .jsonl). Paths in it are relative to it. Empty once it has been read."""
    head: str = DEFAULT_HEAD
    """The head model: `default`, the name of an imported head such as `flame2023`, or a head file, by path or URI (such
    as ``s3://bucket/head.npz#sha256=…``, fetched once per node)."""
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    capture: CaptureConfig = field(default_factory=CaptureConfig)
    matting: MattingMethod = "auto"
    """How the person is told from the background; `auto` takes masks or an alpha channel where there are some, else a
    clean plate where there is one."""
    matting_weights: str = ""
    """The weights of `rvm` or `bgmv2`, as their authors publish them, by path or URI; by default those in
    `$RAYTRACK_ASSETS`."""
    plate_refinement: PlateRefinement = "guided"
    """How outlines are refined for `matting: plate`: by the guided filter, or by `pymatting` (finer, far slower)."""
    landmarks: LandmarkConfig = field(default_factory=LandmarkConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    identity: IdentityMode = "auto"
    """Whose shape, offset and albedo a sequence is tracked with: one fitted to all sequences of the subject (`joint`),
    or its `own`. `auto` takes a joint one for sequences of single cameras that name the same `subject` and dataset. Its
    members are all of the job: with another one, all are tracked anew; of those that a run leaves out (`--sequences`),
    frames, mattes and landmarks are found all the same."""
    export: ExportConfig = field(default_factory=ExportConfig)
    union: UnionConfig | None = None
    """Also make one dataset of those of each subject's sequences, with whole sequences held out; by default not. It
    waits until all of them are exported, and there is none while one has failed."""
    pipeline: PipelineConfig = field(default_factory=PipelineConfig)

    def for_sequence(self, sequence: SequenceConfig) -> "RunConfig":
        """The configuration as it applies to one sequence, and to no other.

        The regions that are hidden in it are added, and what does not concern it has its default: how rigs are read
        for a single camera, and the table that the hidden regions were found in.
        """
        regions = tuple(dict.fromkeys((*self.track.occluded, *sequence.occluded)))
        capture = dataclasses.replace(self.capture, occlusions="") if sequence.is_calibrated else CaptureConfig()
        return dataclasses.replace(
            self,
            sequences=(sequence,),
            capture=capture,
            track=dataclasses.replace(self.track, occluded=regions),
        )

    def union_members(self) -> dict[SequenceKey, tuple[SequenceConfig, ...]]:
        """The sequences of each subject, in order, by the key of their union."""
        members: dict[SequenceKey, tuple[SequenceConfig, ...]] = {}
        for sequence in self.sequences:
            key = dataclasses.replace(sequence.key, sequence=union_name(sequence.key.subject))
            members[key] = (*members.get(key, ()), sequence)
        return members

    def identity_members(self) -> dict[SequenceKey, tuple[SequenceConfig, ...]]:
        """The sequences of each subject that get one identity, in order, by the key that it goes by.

        They are those of single cameras, where there are several; a rig's sequence has its own.
        """
        track = self.track
        if self.identity == "own" or track.identity or track.preset == "vhap" or track.landmarks_only:
            return {}
        members: dict[SequenceKey, tuple[SequenceConfig, ...]] = {}
        for sequence in self.sequences:
            if not sequence.is_rig:
                key = dataclasses.replace(sequence.key, sequence=identity_name(sequence.key.subject))
                members[key] = (*members.get(key, ()), sequence)
        return {key: sequences for key, sequences in members.items() if len(sequences) > 1}

    def __post_init__(self) -> None:
        """Check that sequence names are usable and differ, also where folders do not tell capitals from small letters.

        Raises:
            ConfigError: A name cannot name a folder, two sequences share one, masks would be ignored, a plate is
                missing, or a union would have another's name.
        """
        seen: dict[str, SequenceConfig] = {}
        for sequence in self.sequences:
            if sequence.is_pattern:
                continue
            name = sequence.key.sequence
            if other := seen.get(name.lower()):
                both = (other.key.sequence, name)
                fault = f"two sequences are called {name!r}" if len(set(both)) == 1 else f"{both} differ only in case"
                raise ConfigError(
                    f"{fault} ({other.footage} and {sequence.footage}): write a job file that gives each a `name`"
                )
            if sequence.key.is_union or sequence.key.is_identity:
                what = "union" if sequence.key.is_union else "identity"
                raise ConfigError(
                    f"{name!r} is what the {what} of the subject's sequences is called: choose another name"
                )
            seen[name.lower()] = sequence
            if sequence.masks and self.matting not in ("auto", "given"):
                raise ConfigError(
                    f"sequence {name!r} has masks, but matting {self.matting!r} uses none: "
                    "take matting `given` or `auto`, or leave out the masks"
                )
            if self.matting in {"plate", "bgmv2"} and not sequence.plate and not sequence.is_calibrated:
                remedy = "several videos have none: choose another method" if sequence.videos else "name it as `plate`"
                raise ConfigError(
                    f"matting {self.matting!r} needs a picture of the empty scene for sequence {name!r}: {remedy}"
                )
        if self.union is not None and not any(sequence.is_pattern for sequence in self.sequences):
            self._check_shared_names("union", self.union_members(), seen)

    def check_identity(self) -> None:
        """See that a joint identity can be had where it is asked for, and that each has a name of its own.

        Raises:
            ConfigError: It cannot, or two share a name, or one has a sequence's.
        """
        if self.identity == "joint":
            self._check_joint()
        sequences = {one.key.sequence.lower() for one in self.sequences if not one.is_pattern}
        remedy = "or take `identity: own`"
        self._check_shared_names("identity", self.identity_members(), sequences, remedy)

    def _check_joint(self) -> None:
        if self.track.identity:
            raise ConfigError("`identity: joint` finds an identity, `track.identity` gives one: leave one of them out")
        if self.track.preset == "vhap" or self.track.landmarks_only:
            what = "preset `vhap`" if self.track.preset == "vhap" else "option `landmarks_only`"
            raise ConfigError(f"`identity: joint` needs the default preset with colours, which the {what} is not")
        for sequence in self.sequences:
            if sequence.is_rig:
                raise ConfigError(
                    f"`identity: joint` is for sequences of single cameras; {sequence.key.sequence!r} is of several: "
                    "take `identity: auto`, which finds one for the others, or `own`, or give `track.identity` the "
                    "track of one of the subject's sequences"
                )

    @staticmethod
    def _check_shared_names(
        what: str, keys: Iterable[SequenceKey], sequences: Container[str], remedy: str = ""
    ) -> None:
        """See that what subjects' sequences share can lie side by side; names of sequences are in small letters.

        Raises:
            ConfigError: It cannot.
        """
        remedy, article = f" {remedy}" if remedy else "", "an" if what == "identity" else "a"
        seen: dict[str, SequenceKey] = {}
        for key in keys:
            name = key.sequence
            if other := seen.get(name.lower()):
                raise ConfigError(
                    f"subjects {other.subject!r} of {other.dataset} and {key.subject!r} of {key.dataset} cannot both "
                    f"have {article} {what} {name!r}: write a job file and take an output folder for each{remedy}"
                )
            if name.lower() in sequences:
                raise ConfigError(
                    f"{name!r} names a sequence and the {what} of subject {key.subject!r}: give the sequence another "
                    f"name{remedy}"
                )
            seen[name.lower()] = key
