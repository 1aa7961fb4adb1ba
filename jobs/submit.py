"""Submit many job files to a Ray cluster at once, and wait for them all.

    python jobs/submit.py --address http://127.0.0.1:8265 --out /data/out jobs/anna.yaml jobs/ben.yaml

Each job writes to a folder of its own in OUT, called as its file. They run side by side, as the cluster has room. What
the paths in the job files mean, and what the cluster needs, is as for `raytrack submit`; see docs/cluster.md. The exit
code is that of the worst job: 0 all finished, 3 some sequences, 1 or 2 something is wrong, 137 and the like where
something killed one.
"""

import argparse
import sys
from pathlib import Path

from raytrack.config import load_job
from raytrack.errors import RaytrackError
from raytrack.pipeline.submit import JobOutcome, JobRequest, JobServer

BEST_FIRST = (0, 3, 130, 1, 2)
"""Any other exit code is worse."""


def worst(codes: list[int]) -> int:
    """The exit code that stands for all."""
    return max(codes, key=lambda code: BEST_FIRST.index(code) if code in BEST_FIRST else len(BEST_FIRST))


def submit(server: JobServer, paths: list[Path], out: str) -> dict[str, str]:
    """Submit every job; what the cluster calls them, by name."""
    requests = {
        path.stem: JobRequest(config=load_job(path, here=False), out=f"{out.rstrip('/')}/{path.stem}") for path in paths
    }
    if len(requests) < len(paths):
        raise SystemExit("two job files have one name, and would write to one folder")
    return {name: server.submit(request) for name, request in requests.items()}


def wait(server: JobServer, jobs: dict[str, str]) -> dict[str, JobOutcome]:
    """Follow the jobs one after the other; a line of the second waits until the first has ended."""
    outcomes = {}
    for name, job_id in jobs.items():
        outcomes[name] = server.follow(job_id, lambda text, name=name: print(f"[{name}] {text}", end=""))
    return outcomes


def main(arguments: list[str] | None = None) -> int:
    """Submit the job files that the command line names."""
    parser = argparse.ArgumentParser(description="Submit job files to a Ray cluster and wait for them all.")
    parser.add_argument("jobs", nargs="+", type=Path, metavar="JOB.yaml")
    parser.add_argument("--address", default="", help="the cluster's dashboard, such as http://127.0.0.1:8265")
    parser.add_argument("--out", required=True, help="a folder that every node sees, by its absolute path")
    options = parser.parse_args(arguments)
    try:
        server = JobServer(options.address, lambda text: print(f"warning: {text}", file=sys.stderr))
        jobs = submit(server, options.jobs, options.out)
        outcomes = wait(server, jobs)
    except RaytrackError as error:
        print(f"submit.py: {error}", file=sys.stderr)
        return 2
    for name, outcome in outcomes.items():
        print(f"{name}: exit code {outcome.exit_code} {outcome.message}".rstrip())
    return worst([outcome.exit_code for outcome in outcomes.values()])


if __name__ == "__main__":
    sys.exit(main())
