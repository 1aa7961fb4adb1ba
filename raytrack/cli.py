"""The command line: `raytrack run | preprocess | track | export | submit | union | status | validate | ...`."""

import io
import json
import logging
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING

import tyro

from raytrack.commands import (
    Assets,
    Command,
    Doctor,
    ImportFlame,
    JobOptions,
    Purge,
    Status,
    Submit,
    Union,
    Validate,
    job_config,
    passed_on,
)
from raytrack.errors import ConfigError, OutputError, RaytrackError
from raytrack.job import expanded, with_pinned_files

if TYPE_CHECKING:
    from raytrack.pipeline.submit import JobServer

_DESCRIPTION = "Talking-head videos to tracked heads and NeRF/3DGS-ready datasets."
_FATAL, _USAGE, _INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; `sys.argv` by default.

    Returns:
        The exit code: 0 all finished, 3 some sequences finished, 1 none or a fatal error, 2 usage or configuration, 130
        interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    _start_logging()
    command = tyro.cli(Command, args=arguments, prog="raytrack", description=_DESCRIPTION)
    try:
        return _carry_out(command, arguments)
    except (ConfigError, OutputError) as error:
        print(f"raytrack: {error}", file=sys.stderr)
        return _USAGE
    except RaytrackError as error:
        print(f"raytrack: {error}", file=sys.stderr)
        return _FATAL
    except KeyboardInterrupt:
        print(f"interrupted; to go on: {_spelled(arguments)}", file=sys.stderr)
        return _INTERRUPTED


def _start_logging() -> None:
    """Log to stderr where RAYTRACK_LOG names a level; what the person should know is shown without it."""
    if level := os.environ.get("RAYTRACK_LOG"):
        logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s")
    else:
        logging.getLogger("raytrack").addHandler(logging.NullHandler())


def _carry_out(command: Command, arguments: list[str]) -> int:
    if isinstance(command, JobOptions):
        return _submit(command, arguments) if isinstance(command, Submit) else _run(command, arguments)
    if isinstance(command, Assets):
        return _import_flame(command.action) if isinstance(command.action, ImportFlame) else _list_heads()
    return _look_after(command)


def _look_after(command: Union | Status | Validate | Doctor | Purge) -> int:
    """Commands about what there is already."""
    if isinstance(command, Union):
        return _union(command)
    if isinstance(command, Status):
        return _status(command)
    if isinstance(command, Validate):
        return _validate(command)
    if isinstance(command, Doctor):
        return _doctor(command)
    return _purge(command)


def _run(options: JobOptions, arguments: list[str]) -> int:
    from raytrack.pipeline.choose import chosen
    from raytrack.pipeline.display import Display
    from raytrack.pipeline.report import write_report
    from raytrack.pipeline.run import run_job
    from raytrack.pipeline.screen import Screen
    from raytrack.pipeline.stage import select
    from raytrack.pipeline.stages import all_stages, check_job

    whole = expanded(job_config(options))
    config = with_pinned_files(chosen(whole, options.subjects, options.sequences))
    check_job(config, whole)
    signal.signal(signal.SIGTERM, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no bars must not end a run
    display = Display(sys.stdout, live=sys.stdout.isatty(), quiet=options.quiet)
    stages = select(all_stages(config, sequential=options.sequential), type(options).targets)
    report = run_job(config, options.out, stages, whole=whole, sequential=options.sequential, display=display)
    write_report(report, Screen(sys.stdout), retry=_spelled(arguments), quiet=options.quiet)
    return report.exit_code


def _submit(options: Submit, arguments: list[str]) -> int:
    from raytrack.pipeline.screen import Screen
    from raytrack.pipeline.submit import JobRequest, JobServer

    if options.sequential:
        raise ConfigError("--sequential works in one process, without Ray: leave it out, or use `raytrack run`")
    request = JobRequest(
        config=job_config(options),
        out=str(options.out),
        command=options.command,
        options=passed_on(options),
        code="installed" if options.installed else "upload",
        install_dependencies=options.install_dependencies,
        retry=_spelled(arguments),
    )
    signal.signal(signal.SIGTERM, _interrupt)
    screen = Screen(sys.stdout)
    server = JobServer(options.address, lambda text: screen.write(f"warning: {text}\n"))
    job_id = server.submit(request)
    screen.write(f"{job_id} is submitted to {server.url}\n")
    if options.no_wait:
        screen.write(server.advice(job_id))
        return 0
    try:
        outcome = server.follow(job_id, screen.write)
    except KeyboardInterrupt:
        return _leave(server, job_id, stop=options.stop_on_interrupt)
    if outcome.message:
        print(f"raytrack: {job_id}: {outcome.message}", file=sys.stderr)
    return outcome.exit_code


def _leave(server: "JobServer", job_id: str, *, stop: bool) -> int:
    """What becomes of a job that nobody follows any more."""
    if not stop:
        print(f"{job_id} goes on\n{server.advice(job_id)}", end="", file=sys.stderr)
    elif server.stop(job_id):
        print(f"{job_id} is stopped; submitting it again goes on where it stopped", file=sys.stderr)
    else:
        print(f"{job_id} is asked to stop, but has not yet\n{server.advice(job_id)}", end="", file=sys.stderr)
    return _INTERRUPTED


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _spelled(arguments: list[str]) -> str:
    """What to type for the same once more: what was typed where a job was submitted, if this is one."""
    return os.environ.get("RAYTRACK_RETRY") or shlex.join(["raytrack", *arguments])


def _union(command: Union) -> int:
    from raytrack.export.config import UnionConfig
    from raytrack.export.union import union_datasets

    if command.copy and command.link:
        raise ConfigError("give --copy or --link, not both")
    placement = "copy" if command.copy else "link" if command.link else "refer"
    config = UnionConfig(mode=command.mode, placement=placement)
    union = union_datasets(command.datasets, command.out, config, subject=command.subject)
    counts = ", ".join(f"{count} {split}" for split, count in union.num_frames.items())
    print(f"{command.out}: {union.num_timesteps} timesteps; frames: {counts}")
    print(f"trained: {' '.join(union.train_sequences)}; tested: {' '.join(union.test_sequences)}")
    if not union.same_identity:
        print(
            "note: each sequence has a shape of its own, kept in its parameter files; readers that take timestep 0's "
            "for all, as GaussianAvatars does, will be a little off in the others"
        )
    return 0


def _status(command: Status) -> int:
    from raytrack.pipeline.report import write_status
    from raytrack.pipeline.screen import Screen

    write_status(command.out, Screen(sys.stdout))
    return 0


def _validate(command: Validate) -> int:
    from raytrack.pipeline.screen import Screen
    from raytrack.pipeline.validate import validate, write_validation

    found = validate(command.out)
    if command.json:
        print(json.dumps(found.as_document(), indent=2, ensure_ascii=False))
    else:
        write_validation(found, Screen(sys.stdout))
    return _FATAL if found.problems else 0


def _doctor(command: Doctor) -> int:
    from raytrack.pipeline.doctor import examine
    from raytrack.pipeline.screen import Screen

    screen, healthy = Screen(sys.stdout), True
    for check in examine(warm=command.warm):
        healthy &= check.verdict != "bad"
        screen.write(f"{check.verdict:5} {check.name}: {check.finding}\n")
        if check.advice:
            screen.write(f"      -> {check.advice}\n")
    return 0 if healthy else _FATAL


def _purge(command: Purge) -> int:
    from raytrack.pipeline.purge import purge_subject

    removed = purge_subject(command.out, command.subject)
    print(f"removed {', '.join(removed) or 'what was left'} of subject {command.subject} from {command.out}")
    return 0


def _import_flame(command: ImportFlame) -> int:
    from raytrack.head.flame.importer import FlameFiles
    from raytrack.observe.flame_import import default_name, install_flame

    files = FlameFiles(
        model=command.model,
        masks=command.masks,
        template=command.template,
        landmarks=command.landmarks,
        texture=command.texture,
    )
    name = command.name or default_name(command.model)
    path = install_flame(files, name)
    print(f"wrote {path}; use it with --head {name}")
    return 0


def _list_heads() -> int:
    from raytrack.head.names import SHIPPED_HEADS, user_head_names, user_heads_folder

    for name in SHIPPED_HEADS:
        print(f"{name}  (ships with raytrack)")
    for name in user_head_names():
        print(f"{name}  ({user_heads_folder()})")
    return 0
