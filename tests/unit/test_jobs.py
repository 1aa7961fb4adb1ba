"""The job files that ship with raytrack: all of them can be loaded, and mean what they say."""

from pathlib import Path

import pytest

from raytrack.export.config import UnionConfig
from raytrack.job import load_job

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_job_file_can_be_loaded(path):
    config = load_job(path)
    assert config.sequences
    text = path.read_text(encoding="utf-8")
    assert f"raytrack run {path.name}" in text or f"raytrack run jobs/{path.name}" in text, "it says how it is run"


def test_there_is_one_for_each_kind_of_footage():
    jobs = {path.stem: load_job(path) for path in JOBS.glob("*.yaml")}
    kinds = {name: config.sequences[0].dataset for name, config in jobs.items()}
    wanted = {"monocular": "monocular", "insta": "insta", "nersemble": "nersemble-v2", "nersemble_v1": "nersemble-v1"}
    assert kinds.items() >= wanted.items()
    assert jobs["nersemble"].union == jobs["nersemble_v1"].union == UnionConfig(mode="random_group")
    assert jobs["insta"].extract.target_fps == 25
    for name in ("nersemble", "nersemble_v1"):
        assert len(jobs[name].sequences[0].sequence.split()) == 10
