"""What the wheel, the Docker context and the import rules let through, and what the product needs."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from docker.utils.build import exclude_paths

from tests.support.services.settings import PROJECT

FOR_DEVELOPERS = frozenset({"bench", "docs", "scripts", "tests"})
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def top_level_packages(project: Path = PROJECT) -> set[str]:
    """Every folder with Python below it that is part of the product, whether any list names it or not."""
    folders = {path for path in project.iterdir() if path.is_dir() and path.name.isidentifier()}
    return {folder.name for folder in folders if any(folder.rglob("*.py")) and _is_product(folder.name)} - {
        "build"
    }


def needed_files(project: Path = PROJECT) -> set[str]:
    """The product's own files: its packages' code and data, and its top-level modules."""
    files = [path for package in top_level_packages(project) for path in (project / package).rglob("*")]
    files += project.glob("*.py")
    return {
        path.relative_to(project).as_posix()
        for path in files
        if path.is_file() and "__pycache__" not in path.parts
    }


def imported_top_levels(project: Path = PROJECT) -> set[str]:
    """First-party top-level names that the product's code imports anywhere, inside functions too."""
    ours = {path.stem for path in project.iterdir() if path.suffix == ".py" or path.is_dir()}
    sources = [project / name for name in needed_files(project) if name.endswith(".py")]
    return {name for source in sources for name in _imports(source)} & ours


def docker_context(project: Path = PROJECT) -> set[str]:
    """The files that `.dockerignore` lets through, as Docker's own client reads it."""
    lines = (project / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line.strip() and not line.startswith("#")]
    return {name for name in exclude_paths(str(project), patterns) if (project / name).is_file()}


def wheel_files(project: Path, folder: Path) -> set[str]:
    """What setuptools packs from ``project``, of which it leaves a ``build`` folder behind."""
    command = [sys.executable, "-c", BUILD, str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def listed_for_import_rules(project: Path = PROJECT) -> set[str]:
    return set(_pyproject(project)["importlinter"]["root_packages"])


def listed_for_types(project: Path = PROJECT) -> set[str]:
    return set(_pyproject(project)["mypy"]["files"])


def listed_in_architecture(project: Path = PROJECT) -> set[str]:
    """The folders in the table of ARCHITECTURE.md, first column."""
    rows = [line for line in (project / "ARCHITECTURE.md").read_text().splitlines() if line.startswith("| `")]
    return {name.strip("`, /") for row in rows for name in row.split("|")[1].split()}


def _is_product(name: str) -> bool:
    return name not in FOR_DEVELOPERS


def _imports(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _pyproject(project: Path) -> dict[str, dict[str, list[str]]]:
    tool: dict[str, dict[str, list[str]]] = tomllib.loads((project / "pyproject.toml").read_text())["tool"]
    return tool
