"""A package or a file that some list leaves out is missing in the image or the wheel, and there only."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import packing
from tests.support.services.settings import PROJECT


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what Docker would copy into the image."""
    folder = tmp_path_factory.mktemp("context")
    for name in packing.docker_context():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(context: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    return packing.wheel_files(context, tmp_path_factory.mktemp("wheel"))


def test_the_docker_context_has_every_file_of_the_product() -> None:
    assert packing.needed_files() - packing.docker_context() == set()


def test_the_docker_context_has_nothing_for_developers() -> None:
    tops = {name.partition("/")[0] for name in packing.docker_context()}
    assert tops & (packing.FOR_DEVELOPERS | {".env", ".git", ".milepost", ".venv"}) == set()


def test_the_wheel_has_every_file_of_the_product(wheel: set[str]) -> None:
    assert packing.needed_files() - wheel == set()


def test_the_product_imports_nothing_made_for_developers() -> None:
    assert packing.imported_top_levels() & packing.FOR_DEVELOPERS == set()


def test_every_top_level_package_is_imported_and_listed_everywhere() -> None:
    packages = packing.top_level_packages()
    assert packages - packing.imported_top_levels() == set()
    assert packages ^ packing.listed_for_import_rules() == set()
    assert packages - packing.listed_for_types() == set()
    assert packages - packing.listed_in_architecture() == set()


def test_the_command_line_loads_from_the_docker_context_alone(context: Path) -> None:
    code = "import milepost, sys; print(*(getattr(m, '__file__', None) or '' for m in sys.modules.values()))"
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(context), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-c", code]
    loaded = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=True).stdout
    assert str(context / "cli" / "__init__.py") in loaded
    # The virtual environment knows this clone too, and would fill in for a file that is not in the context.
    assert not [name for name in loaded.split() if Path(name).is_relative_to(PROJECT) and ".venv" not in name]


def test_a_new_package_that_no_list_names_is_noticed(context: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(context, project, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    shutil.copy(PROJECT / ".dockerignore", project)
    (project / "fresh").mkdir()
    (project / "fresh" / "page.html").touch()
    (project / "fresh" / "__init__.py").touch()
    with (project / "milepost.py").open("a") as file:
        file.write("\n\ndef later() -> None:\n    import fresh\n")
    new = {"fresh/__init__.py", "fresh/page.html"}
    assert "fresh" in packing.imported_top_levels(project)
    assert packing.needed_files(project) - packing.docker_context(project) == new
    assert packing.needed_files(project) - packing.wheel_files(project, tmp_path) == new
    assert packing.top_level_packages(project) - packing.listed_for_import_rules(project) == {"fresh"}
