"""What the README tells people to type, open or write exists."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import tyro
import yaml

from raytrack import cli, commands
from raytrack.config import RunConfig
from raytrack.mapping import from_mapping

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROSE = BLOCK.sub("", README)
SPANS = re.findall(r"`([^`\n]+)`", PROSE)

BLOCK_COMMANDS = [line for kind, text in BLOCK.findall(README) if kind == "bash" for line in text.splitlines() if line]
SPAN_COMMANDS = [span for span in SPANS if re.match(r"(raytrack|make|scripts/\S+) ", span)]
COMMANDS = sorted({*BLOCK_COMMANDS, *SPAN_COMMANDS})
FROM_ELSEWHERE = {"sudo", "source", "pip", "pre-commit"}


def parsed(arguments: list[str]) -> object:
    """The command that the command line would carry out."""
    return tyro.cli(cli.Command, args=arguments, prog="raytrack")


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("raytrack ")])
def test_raytrack_command_is_understood(command):
    arguments = shlex.split(command)[1:]
    if "--help" in arguments:
        with pytest.raises(SystemExit) as stop:
            parsed(arguments)
        assert stop.value.code == 0
    else:
        assert type(parsed(arguments)).__name__.lower() == arguments[0]


def test_unknown_options_would_be_seen():
    with pytest.raises(SystemExit) as stop:
        parsed(["run", "me.mp4", "--out", "out/me", "--no-such-option"])
    assert stop.value.code == 2


def test_every_command_of_the_readme_is_known():
    tasks = set((ROOT / "Makefile").read_text().split(".PHONY:")[1].splitlines()[0].split())
    assert {"demo", "test", "check", "bench", "clean"} <= tasks
    unknown = []
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        known = program in FROM_ELSEWHERE | {"raytrack"}
        known |= program in {"make", "scripts/task.sh"} and set(arguments) <= tasks
        unknown += [] if known else [command]
    assert not unknown


def test_options_named_exist():
    named_commands = (commands.Run, commands.Union, commands.ImportFlame)
    fields = [field for command in named_commands for field in dataclasses.fields(command)]
    known = {"--" + field.name.replace("_", "-") for field in fields}
    named = set(re.findall(r"`(--[\w-]+)", PROSE))
    assert len(named) >= 8
    assert named <= known


@pytest.mark.parametrize("text", [text for kind, text in BLOCK.findall(README) if kind == "yaml"])
def test_job_file_examples_are_valid(text):
    config = from_mapping(RunConfig, yaml.safe_load(text), where="README.md")
    assert config.sequences


def test_files_named_exist():
    links = {link for link in re.findall(r"\]\(([^)#\s]+)\)", PROSE) if "://" not in link}
    words = {word.strip("'\".,") for text in [*SPANS, *BLOCK_COMMANDS] for word in text.split()}
    here = re.compile(
        r"(\.ci|assets|benchmarks|docs|jobs|raytrack|scripts|tests)/[\w./-]*|constraints\.txt|\.pre-commit.*"
    )
    named = links | {word for word in words if here.fullmatch(word)}
    assert "jobs/demo.yaml" in named
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert not missing


def test_links_within_the_readme_lead_somewhere():
    titles = re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", PROSE)) <= anchors


def test_works_and_licences_that_must_be_named_are():
    for words in ("independent implementation", "10.5281/zenodo.14988309", "20299--20309", "sudo apt-get install"):
        assert words in README
    for part in ("nvdiffrast", "FLAME", "face-alignment", "STAR", "RobustVideoMatting", "BackgroundMattingV2"):
        assert re.search(rf"^\| {part}\b.*\|.*\|", README, re.MULTILINE), f"no licence row for {part}"
