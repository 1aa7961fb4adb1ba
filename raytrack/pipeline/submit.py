"""Jobs on a cluster, through Ray's job server: submitting, following, stopping, and how they ended."""

import asyncio
import contextlib
import importlib.util
import logging
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from raytrack.config import RunConfig
from raytrack.errors import ConfigError, RaytrackError
from raytrack.pipeline.bundle import JOB_FILE, copy_package, dependencies, write_job
from raytrack.pipeline.job_server import ask_versions, check_versions, is_exposed, prepare_authentication, server_url
from raytrack.remote import is_uri, parse_uri

logger = logging.getLogger(__name__)

SubmittedCommand = Literal["run", "preprocess", "track", "export"]
RETRY_VARIABLE = "RAYTRACK_RETRY"
"""Environment variable that says what to type for the same run once more, where it is not the command line itself."""

_FATAL, _INTERRUPTED = 1, 130
_TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Ray's loggers that tell of every step of an upload."""
_POLL_S = 1.0
_STOP_S = 60.0
_LOST_S = 300.0
"""So long a job server may be out of reach before following is given up."""


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A run that a cluster is to carry out."""

    config: RunConfig
    """Footage, weights and head are where the cluster's nodes see them."""
    out: str
    """The output folder, an absolute path on a file system that all nodes share."""
    command: SubmittedCommand = "run"
    options: tuple[str, ...] = ()
    """Further options of the command, such as ``--subjects``."""
    code: Literal["upload", "installed"] = "upload"
    """Whether nodes are sent the raytrack that runs here, or use the one that they have."""
    install_dependencies: bool = False
    """Have each node install what raytrack depends on, in the versions that are installed here."""
    retry: str = ""
    """What to type for the same run once more."""

    def __post_init__(self) -> None:
        """Check that the output folder is one that nodes can share, and that they can fetch what is given as a URI.

        Raises:
            ConfigError: The folder's path is not absolute.
            AssetError: A URI is none that can be fetched, or has credentials in it.
        """
        config = self.config
        for text in (config.head, config.matting_weights, config.landmarks.weights):
            if is_uri(text):
                parse_uri(text)
        if not PurePosixPath(self.out).is_absolute():
            raise ConfigError(
                f"--out {self.out!r}: give its absolute path, on a file system that every node of the cluster sees"
            )


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """How a job ended."""

    exit_code: int
    """The driver's own: 0 all finished, 3 some, 1 none or fatal, 2 usage or configuration, 130 interrupted."""
    message: str = ""
    """What Ray says where the driver did not end by itself."""


class JobServer:
    """A cluster's job server, asked through Ray's job submission SDK.

    Args:
        address: As `server_url` takes it.
        warn: Is told, before anything is sent, that the token will cross a network unencrypted.

    Raises:
        ConfigError: Ray's client is not installed, nobody answers, the token is missing or refused, or the versions of
            Ray and Python do not go together.
    """

    def __init__(self, address: str = "", warn: Callable[[str], None] = logger.warning) -> None:
        if importlib.util.find_spec("aiohttp") is None:
            raise ConfigError("jobs are submitted with Ray's client: pip install 'raytrack[cluster]'")
        self.url = server_url(address)
        token = prepare_authentication()
        if token and is_exposed(self.url):
            warn(f"the token goes to {self.url} unencrypted; use a tunnel, or https")
        check_versions(ask_versions(self.url, token), self.url)
        import aiohttp  # noqa: PLC0415 (of Ray's client, like the next)
        from ray.job_submission import JobSubmissionClient  # noqa: PLC0415 (Ray reads its environment when imported)

        self._lost: tuple[type[Exception], ...] = (RuntimeError, OSError, aiohttp.ClientError)

        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            self._client: Any = JobSubmissionClient(self.url)
        except (RuntimeError, OSError) as error:
            raise ConfigError(f"no Ray cluster can be used at {self.url} ({error})") from error

    def submit(self, request: JobRequest) -> str:
        """Send a job off.

        Returns:
            What the cluster calls it.

        Raises:
            RaytrackError: The cluster does not take it.
        """
        arguments = (request.command, JOB_FILE, "--out", request.out, *request.options)
        with tempfile.TemporaryDirectory(prefix="raytrack-job-") as folder:
            environment = _environment(request, Path(folder))
            try:
                return self._client.submit_job(
                    # In the shell's place, so that a signal for the job is one for raytrack.
                    entrypoint=f"exec python -m raytrack {shlex.join(arguments)}",
                    runtime_env=environment,
                    metadata={"program": "raytrack"},
                )
            except (RuntimeError, OSError, ValueError) as error:
                raise RaytrackError(f"the cluster at {self.url} does not take the job ({error})") from error

    def follow(self, job_id: str, write: Callable[[str], None]) -> JobOutcome:
        """Wait for a job's end, and pass on what it says meanwhile.

        Args:
            job_id: As `submit` gave it.
            write: Is given the job's output, piece by piece.

        Raises:
            RaytrackError: The job server is gone, or knows no such job.
        """
        log = _Log(write)
        lost_since = None
        while True:
            try:
                asyncio.run(self._tail(job_id, log))
                outcome = self.outcome(job_id)
            except self._lost as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > _LOST_S:
                    raise RaytrackError(
                        f"the cluster at {self.url} is out of reach ({error}); {job_id} may go on all the same"
                    ) from error
                logger.info("%s: the connection was lost (%s)", job_id, error)
                time.sleep(_POLL_S)
                continue
            lost_since = None
            if outcome is not None:
                with contextlib.suppress(RuntimeError, OSError):  # There is no log where the driver never started.
                    log.whole(self._client.get_job_logs(job_id))
                return outcome
            time.sleep(_POLL_S)

    async def _tail(self, job_id: str, log: "_Log") -> None:
        """Pass on a job's output until the job ends: Ray's own tail ends some seconds later."""
        tail = asyncio.create_task(self._pass_on(job_id, log))
        try:
            while not tail.done():
                await asyncio.wait({tail}, timeout=_POLL_S)
                if await asyncio.to_thread(self.outcome, job_id) is not None:
                    break
        finally:
            tail.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tail

    async def _pass_on(self, job_id: str, log: "_Log") -> None:
        log.rewind()
        async for text in self._client.tail_job_logs(job_id):
            log.append(text)

    def outcome(self, job_id: str) -> JobOutcome | None:
        """How a job ended; None while it has not.

        Raises:
            RuntimeError: The job server cannot be asked, or knows no such job.
            OSError: It is out of reach.
        """
        info = self._client.get_job_info(job_id)
        if not info.status.is_terminal():
            return None
        code = info.driver_exit_code
        if code is not None:
            # As a shell has it: 128 and the signal's number, where one ended the driver.
            return JobOutcome(exit_code=code if code >= 0 else 128 - code)
        if info.status == "STOPPED":
            return JobOutcome(exit_code=_INTERRUPTED, message="the job was stopped")
        return JobOutcome(exit_code=0 if info.status == "SUCCEEDED" else _FATAL, message=info.message or "")

    def stop(self, job_id: str) -> bool:
        """Stop a job, as Ctrl-C stops a run, and wait for its end.

        Returns:
            Whether it has ended within a minute.

        Raises:
            RaytrackError: The job server cannot be asked.
        """
        deadline = time.monotonic() + _STOP_S
        try:
            self._client.stop_job(job_id)
            while self.outcome(job_id) is None:
                if time.monotonic() > deadline:
                    return False
                time.sleep(_POLL_S)
        except (RuntimeError, OSError) as error:
            raise RaytrackError(f"{job_id} cannot be stopped ({error})") from error
        return True

    def advice(self, job_id: str) -> str:
        """What to type to follow a job or to stop it."""
        return "".join(
            f"  to {what} it: RAY_AUTH_MODE=token ray job {command} {job_id} --address {self.url}\n"
            for what, command in (("follow", "logs --follow"), ("stop", "stop"))
        )


def _environment(request: JobRequest, folder: Path) -> dict[str, Any]:
    """Ray's runtime environment of a job; what it names in `folder` is uploaded."""
    job = folder / "job"
    job.mkdir()
    write_job(request.config, job)
    environment: dict[str, Any] = {"working_dir": str(job)}
    if request.retry:
        environment["env_vars"] = {RETRY_VARIABLE: request.retry}
    if request.code == "upload":
        environment["py_modules"] = [str(copy_package(folder))]
    if request.install_dependencies:
        environment["pip"] = dependencies(job)
    return environment


class _Log:
    """A job's output, which is told from the start after every loss of the connection, passed on once."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._written = 0
        self._position = 0

    def rewind(self) -> None:
        """What follows is told from the start."""
        self._position = 0

    def append(self, text: str) -> None:
        """Pass on what of the next piece is new."""
        fresh = text[max(0, self._written - self._position) :]
        self._position += len(text)
        if fresh:
            self._write(fresh)
            self._written = self._position

    def whole(self, text: str) -> None:
        """Pass on what is missing of the whole."""
        self.rewind()
        self.append(text)
