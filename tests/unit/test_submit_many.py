"""jobs/submit.py: one job's fault hides no other, and the worst exit code stands for all."""

import importlib.util

import pytest

from raytrack.errors import RaytrackError
from raytrack.pipeline.submit import JobOutcome


class Server:
    """A job server whose jobs end as they are told; a text is a fault while following, None one while submitting."""

    def __init__(self, *endings):
        self.endings = endings
        self.requests = []

    def submit(self, request):
        self.requests.append(request)
        if self.endings[len(self.requests) - 1] is None:
            raise RaytrackError("the cluster is full")
        return f"job-{len(self.requests)}"

    def advice(self, job_id):
        return f"  to stop it: stop {job_id}\n"

    def follow(self, job_id, write):
        ending = self.endings[int(job_id[-1]) - 1]
        if isinstance(ending, str):
            raise RaytrackError(ending)
        write("a line\n")
        return JobOutcome(exit_code=ending)


@pytest.fixture
def run(repository, tmp_path, monkeypatch):
    """Runs the script's main() on as many jobs as there are endings; the exit code, and the server."""
    spec = importlib.util.spec_from_file_location("submit_script", repository / "jobs" / "submit.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def start(*endings):
        server = Server(*endings)
        monkeypatch.setattr(script, "JobServer", lambda *_: server)
        monkeypatch.setattr(script.sys, "argv", ["jobs/submit.py"])
        jobs = [tmp_path / f"{name}.yaml" for name, _ in zip("abc", endings, strict=False)]
        for job in jobs:
            job.write_text("sequences: [{video: a.mp4}]\n")
        return script.main(["--out", "/data/out", "--address", "head", *map(str, jobs)]), server

    return start


@pytest.mark.parametrize(
    ("codes", "code"),
    [((137, 0), 137), ((0, 137, 2), 137), ((0, 0), 0), ((3, 0), 3), ((3, 130), 130), ((130, 1), 1), ((1, 2), 2)],
)
def test_the_worst_exit_code_stands_for_all(run, codes, code):
    assert run(*codes)[0] == code


def test_a_job_that_is_not_taken_hides_no_other(run, capsys):
    code, server = run(0, None, 3)
    said = capsys.readouterr()
    assert code == 1
    assert len(server.requests) == 3
    assert "a is submitted as job-1\n  to stop it: stop job-1\n" in said.out
    assert "b is not submitted: the cluster is full" in said.err
    assert "a: exit code 0\nb: exit code 1 not submitted\nc: exit code 3\n" in said.out


def test_a_job_that_is_lost_hides_no_other(run, capsys):
    code, _ = run("out of reach", 0)
    assert code == 1
    assert "a: exit code 1 out of reach\nb: exit code 0\n" in capsys.readouterr().out


def test_each_job_is_tried_again_by_itself(run, tmp_path):
    _, server = run(0, 0)
    assert [request.retry for request in server.requests] == [
        f"python jobs/submit.py --address head --out /data/out {tmp_path}/{name}.yaml" for name in "ab"
    ]
    assert [request.out for request in server.requests] == ["/data/out/a", "/data/out/b"]
