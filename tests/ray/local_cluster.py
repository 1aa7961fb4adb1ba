"""Ray clusters on this machine, as `ray start` makes them: with token authentication, a job server, several nodes.

Every process of a cluster carries the cluster's mark in its environment, so that what is left can be told by its pid
and none but the cluster's own is ever ended.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MARK = "RAYTRACK_TEST_CLUSTER"
_START_S = 120.0
_STOP_S = 30.0
_STORE = 80_000_000


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def own_address() -> str:
    """This machine's address, as Ray finds it: for 127.0.0.1 its tools would put this one in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Nothing is sent.
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


@dataclass
class LocalCluster:
    """A head, and nodes that have joined it."""

    folder: Path
    ip: str = field(default_factory=own_address)
    port: int = field(default_factory=free_port)
    dashboard_port: int = field(default_factory=free_port)
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    nodes: list[subprocess.Popen] = field(default_factory=list)
    more_environment: Mapping[str, str] = field(default_factory=dict)
    pids: set[int] = field(default_factory=set)
    """Every process that was ever seen."""

    @property
    def address(self) -> str:
        """Where nodes join, and drivers."""
        return f"{self.ip}:{self.port}"

    @property
    def url(self) -> str:
        """Where jobs go."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    def environment(self, **changes: str) -> dict[str, str]:
        """Of whoever may use the cluster: this Python first, the token, no setting of Ray's besides."""
        inherited = {name: value for name, value in os.environ.items() if "RAY" not in name}
        return {
            **inherited,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            MARK: str(self.folder),
            **self.more_environment,
            **changes,
        }

    def start(self, *options: str, name: str, **changes: str) -> subprocess.Popen:
        """Start a node."""
        with (self.folder / f"{name}.log").open("wb") as log:
            node = subprocess.Popen(
                [str(BIN / "ray"), "start", "--block", f"--object-store-memory={_STORE}", *options],
                env=self.environment(**changes),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        self.nodes.append(node)
        return node

    def start_head(self, *options: str, **changes: str) -> None:
        """Start the head, without CPUs to work with, and wait until it can be joined."""
        # Paths of sockets must be short.
        self.start(
            *("--head", f"--port={self.port}", f"--node-ip-address={self.ip}", f"--temp-dir={self.folder}/r"),
            *("--num-cpus=0", "--num-gpus=0", f"--ray-client-server-port={free_port()}"),
            *(f"--dashboard-agent-listen-port={free_port()}", *options),
            name="head",
            **changes,
        )
        self.wait_for(self._is_up, "the head")

    def _is_up(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.ip, self.port), 0.5):
            return True
        return False

    def wait_for_jobs(self) -> None:
        """Wait until the job server answers."""
        self.wait_for(self._takes_jobs, "the job server")

    def _takes_jobs(self) -> bool:
        request = urllib.request.Request(f"{self.url}/api/version", headers={"Authorization": f"Bearer {self.token}"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=2) as answer:
            return answer.status == 200
        return False

    def join(self, *, cpus: int, **changes: str) -> None:
        """Start a node that works."""
        self.start(
            *(f"--address={self.address}", f"--num-cpus={cpus}", "--num-gpus=0"),
            *(f"--dashboard-agent-listen-port={free_port()}", f"--node-ip-address={self.ip}"),
            name=f"node-{len(self.nodes)}",
            **changes,
        )

    def wait_for(self, ready, what: str) -> None:
        """Wait for something, for as long as all nodes run."""
        deadline = time.monotonic() + _START_S
        while not ready():
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"{what} does not answer\n{logs}"
            assert all(node.poll() is None for node in self.nodes), logs
            time.sleep(0.1)

    def living(self) -> dict[int, str]:
        """Processes of the cluster that run now, and what they are."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == str(self.folder):
                    found[process.pid] = " ".join(process.cmdline())[:200]
        self.pids |= found.keys()
        return found

    def stop(self) -> None:
        """End the nodes, workers first, as an operator would."""
        self.living()
        for node in reversed(self.nodes):
            node.send_signal(signal.SIGTERM)
        for node in self.nodes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(_STOP_S)
        for pid, what in self.living().items():
            if "log_monitor.py" in what:  # Ray's fake provider forgets those of nodes that it takes away.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def remains(self) -> dict[int, str]:
        """Processes that are left when there should be none, after some patience."""
        deadline = time.monotonic() + _STOP_S
        while (left := self.living()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def end_by_force(self) -> None:
        """End whatever is left, each by its pid."""
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def session_logs(self) -> str:
        """The ends of what the job drivers and the agents wrote, for a test that fails."""
        logs = sorted(self.folder.glob("r/session_*/logs/job-driver-*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)


@contextlib.contextmanager
def local_cluster(**more_environment: str) -> Iterator[LocalCluster]:
    """An empty cluster that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rt", ignore_cleanup_errors=True) as folder:
        cluster = LocalCluster(folder=Path(folder), more_environment=more_environment)
        try:
            yield cluster
            cluster.stop()
        finally:
            cluster.end_by_force()


def run(cluster: LocalCluster, *command: object, timeout: float = 400, **changes: str) -> subprocess.CompletedProcess:
    """Run a command as somebody who may use the cluster."""
    return subprocess.run(
        [str(part) for part in command],
        env=cluster.environment(**changes),
        cwd=cluster.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def ask(cluster: LocalCluster, path: str) -> Any:
    """Ask the cluster's dashboard."""
    request = urllib.request.Request(cluster.url + path, headers={"Authorization": f"Bearer {cluster.token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
