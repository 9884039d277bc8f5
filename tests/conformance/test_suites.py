"""The tests of projects that start kernels pass with fastshell as they do with ipykernel."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import sdists
import suites


def _marks(project: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow if suites.SUITES[project].is_quick else pytest.mark.long]


PROJECTS = [pytest.param(project, marks=_marks(project)) for project in suites.SUITES]


@pytest.fixture(scope="session")
def environment() -> suites.Environment:
    return suites.Environment(suites.DEFAULT_ENVIRONMENT)


@pytest.fixture(scope="session")
def run_reference(
    environment: suites.Environment, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], suites.Outcome]:
    """Run a project's tests under ipykernel, once for both routers."""
    runner = suites.Runner(environment, tmp_path_factory.mktemp("s"), "ipykernel")
    return functools.cache(runner.run)


@pytest.fixture(scope="session")
def runner(
    environment: suites.Environment, router: str, tmp_path_factory: pytest.TempPathFactory
) -> suites.Runner:
    """Runs a project's tests under fastshell."""
    return suites.Runner(environment, tmp_path_factory.mktemp("s"), "fastshell", router)


@pytest.mark.timeout(4 * suites.TIMEOUT_S)
@pytest.mark.parametrize("project", PROJECTS)
def test_passes_as_with_ipykernel(
    project: str,
    environment: suites.Environment,
    runner: suites.Runner,
    run_reference: Callable[[str], suites.Outcome],
) -> None:
    try:
        environment.require(project)
        environment.sources(project)
    except (sdists.Unavailable, subprocess.TimeoutExpired) as reason:
        pytest.skip(str(reason))
    runner.check()
    reference = run_reference(project)
    ours = runner.run(project)
    print(suites.HEADER, suites.row(project, ours, reference), sep="\n")
    wrong = suites.judge(project, ours, reference)
    assert not wrong, wrong
