"""Submit many job files to a Ray cluster at once, and wait for them all.

    python jobs/submit.py --address http://127.0.0.1:8265 --out /data/out jobs/anna.yaml jobs/ben.yaml

Each job writes to a folder of its own in OUT, called as its file. They run side by side, as the cluster has room. What
the paths in the job files mean, and what the cluster needs, is as for `raytrack submit`; see docs/cluster.md. The exit
code is that of the worst job: 0 all finished, 3 some sequences, 1 or 2 something is wrong, 137 and the like where
something killed one.
"""

import argparse
import shlex
import sys
from pathlib import Path

from raytrack.errors import ConfigError, RaytrackError
from raytrack.job import load_job
from raytrack.pipeline.submit import JobOutcome, JobRequest, JobServer

BEST_FIRST = (0, 3, 130, 1, 2)
"""Any other exit code is worse."""
FATAL, USAGE, INTERRUPTED = 1, 2, 130


def worst(codes: list[int]) -> int:
    """The exit code that stands for all."""
    return max(codes, key=lambda code: BEST_FIRST.index(code) if code in BEST_FIRST else len(BEST_FIRST))


def requests_of(paths: list[Path], out: str, address: str) -> dict[str, JobRequest]:
    """What the cluster is to do, by name.

    Raises:
        RaytrackError: A job file is wrong, or two have one name.
    """
    requests = {}
    for path in paths:
        again = ["python", sys.argv[0], *(["--address", address] if address else []), "--out", out, str(path)]
        if path.stem in requests:
            raise ConfigError(f"two job files are called {path.stem!r}, and would write to one folder")
        requests[path.stem] = JobRequest(
            config=load_job(path, here=False), out=f"{out.rstrip('/')}/{path.stem}", retry=shlex.join(again)
        )
    return requests


def submit(server: JobServer, name: str, request: JobRequest) -> str | None:
    """Submit a job; what the cluster calls it, None where it is not taken."""
    try:
        job_id = server.submit(request)
    except (RaytrackError, OSError) as error:
        print(f"submit.py: {name} is not submitted: {error}", file=sys.stderr)
        return None
    print(f"{name} is submitted as {job_id}\n{server.advice(job_id)}", end="", flush=True)
    return job_id


def wait(server: JobServer, name: str, job_id: str | None) -> JobOutcome:
    """Follow a job until it ends; what others say meanwhile is shown afterwards."""
    if job_id is None:
        return JobOutcome(exit_code=FATAL, message="not submitted")
    try:
        return server.follow(job_id, lambda text: print(f"[{name}] {text}", end=""))
    except (RaytrackError, OSError) as error:
        return JobOutcome(exit_code=FATAL, message=str(error))


def main(arguments: list[str] | None = None) -> int:
    """Submit the job files that the command line names."""
    parser = argparse.ArgumentParser(description="Submit job files to a Ray cluster and wait for them all.")
    parser.add_argument("jobs", nargs="+", type=Path, metavar="JOB.yaml")
    parser.add_argument("--address", default="", help="the cluster's dashboard, such as http://127.0.0.1:8265")
    parser.add_argument("--out", required=True, help="a folder that every node sees, by its absolute path")
    options = parser.parse_args(arguments)
    try:
        requests = requests_of(options.jobs, options.out, options.address)
        server = JobServer(options.address, lambda text: print(f"warning: {text}", file=sys.stderr))
    except RaytrackError as error:
        print(f"submit.py: {error}", file=sys.stderr)
        return USAGE
    try:
        jobs = {name: submit(server, name, request) for name, request in requests.items()}
        outcomes = {name: wait(server, name, job_id) for name, job_id in jobs.items()}
    except KeyboardInterrupt:
        print("submit.py: interrupted; what is submitted goes on", file=sys.stderr)
        return INTERRUPTED
    for name, outcome in outcomes.items():
        print(f"{name}: exit code {outcome.exit_code} {outcome.message}".rstrip())
    return worst([outcome.exit_code for outcome in outcomes.values()])


if __name__ == "__main__":
    sys.exit(main())
