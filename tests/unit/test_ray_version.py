"""Ray from 2.52 on has token authentication, on which raytrack relies."""

import importlib.metadata
import re

import pytest

from raytrack.pipeline import doctor


def test_the_core_wants_a_ray_with_token_authentication(repository):
    text = (repository / "pyproject.toml").read_text(encoding="utf-8")
    ranges = re.findall(r'"ray(?:\[default\])?>=([\d.]+)"', text)
    assert len(ranges) == 3
    assert set(ranges) == {".".join(map(str, doctor._LEAST_RAY))} == {"2.52"}


@pytest.mark.parametrize(("version", "verdict"), [("2.51.2", "bad"), ("2.52.0", "ok"), ("3.0.0.dev0", "ok")])
def test_the_doctor_knows_which_ray_has_it(monkeypatch, version, verdict):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    check = doctor._ray()
    assert check.verdict == verdict
    assert ("knows no token authentication" in check.finding) == (verdict == "bad")
    assert ("ray>=2.52" in check.advice) == (verdict == "bad")
