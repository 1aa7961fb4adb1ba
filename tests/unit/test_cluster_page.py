"""What the page about clusters tells people to type or write is understood."""

import re
import shlex

import pytest
import tyro
import yaml

from raytrack import cli, commands
from raytrack.config import RunConfig
from raytrack.errors import ConfigError
from raytrack.mapping import from_mapping
from raytrack.remote import parse_uri

BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_commands_are_understood(page):
    lines = [line.strip() for kind, text in BLOCK.findall(page) if kind == "bash" for line in text.splitlines()]
    found = [re.search(r"(?:^| )raytrack (submit|run) .*", line) for line in lines]
    commands = [match.group(0).strip() for match in found if match]
    assert len(commands) >= 6
    for command in commands:
        _, name, *arguments = shlex.split(command)
        parsed = tyro.cli(cli.Command, args=[name, *arguments], prog="raytrack")
        assert type(parsed).__name__.lower() == name


def test_options_are_those_of_submit(page):
    known = {"--" + field.replace("_", "-") for field in commands.Submit.__dataclass_fields__}
    named = set(re.findall(r"^\| `(--[\w-]+)", page, re.MULTILINE))
    assert named >= {"--address", "--installed", "--install-dependencies", "--no-wait", "--stop-on-interrupt"}
    assert named <= known
    assert known - {"--" + field.replace("_", "-") for field in commands.Run.__dataclass_fields__} == named


def test_what_submit_refuses_is_said(page):
    refused = "--sequential"
    with pytest.raises(ConfigError, match=refused):
        cli._submit(tyro.cli(commands.Submit, args=["job.yaml", "--out", "/out", refused]), [])
    assert f"All options of `raytrack run` apply but `{refused}`" in page


def test_settings_in_the_text_are_valid(page):
    settings = re.findall(r"`(pipeline: \{.*?\})`", page)
    assert "pipeline: {device: cuda}" in settings, "how GPU workers come that are not there yet"
    for text in settings:
        from_mapping(RunConfig, yaml.safe_load(text), where="docs/cluster.md")


def test_job_files_are_valid(page):
    texts = [text for kind, text in BLOCK.findall(page) if kind == "yaml"]
    assert len(texts) == 2
    for text in texts:
        config = from_mapping(RunConfig, yaml.safe_load(text), where="docs/cluster.md")
        if "://" in config.head:
            assert parse_uri(config.head).sha256


def test_files_named_exist(page, repository):
    links = re.findall(r"\]\((\.\./[^)]+)\)", page)
    assert "../cluster.yaml" in links
    assert all((repository / "docs" / link).exists() for link in links)
