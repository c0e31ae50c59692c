"""Files for developers' tools name programs and commands that exist, and no registry host."""

import json
import re
from importlib.metadata import entry_points
from typing import Any

import pytest
import yaml

from tests.support.services.settings import PROJECT

FILES = [".devcontainer/devcontainer.json", ".github/workflows/ci.yml", ".pre-commit-config.yaml"]


def read_yaml(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROJECT / name).read_text())
    return document


def test_ci_runs_what_developers_run() -> None:
    steps = read_yaml(".github/workflows/ci.yml")["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]
    assert (PROJECT / ".ci" / "run").exists()


def test_hooks_are_programs_of_the_virtual_environment() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    programs = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in repository["hooks"]}
    assert programs <= {script.name for script in entry_points(group="console_scripts")} | {"ruff"}


def test_the_devcontainer_is_set_up_as_a_test_machine() -> None:
    container = json.loads((PROJECT / ".devcontainer" / "devcontainer.json").read_text())
    script, purpose = container["postCreateCommand"].split()
    (purposes,) = re.findall(r"^([\w |]+)\) ;;$", (PROJECT / script).read_text(), re.M)
    assert purpose in purposes.split(" | ")


@pytest.mark.parametrize("name", FILES)
def test_no_network_host_is_named(name: str) -> None:
    assert not re.findall(r"https?://|\b[\w-]+\.(?:io|com|org|dev)/", (PROJECT / name).read_text())
