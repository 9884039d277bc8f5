"""nbclient's test notebooks give under fastshell what they give under ipykernel."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import notebooks
import sdists

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks of nbclient's sdist."""
    try:
        return notebooks.fetch(tmp_path_factory.mktemp("sdist"))
    except sdists.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def run_reference(
    files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], notebooks.Outcome]:
    """Execute a case under ipykernel, once for both routers."""
    runner = notebooks.Runner(files, tmp_path_factory.mktemp("n"), "ipykernel")
    return functools.cache(runner.run)


@pytest.fixture(scope="session")
def run(
    files: Path, router: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], notebooks.Outcome]:
    """Execute a case under fastshell."""
    return notebooks.Runner(files, tmp_path_factory.mktemp("n"), "fastshell", router).run


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", notebooks.CASES)
def test_same_outputs(
    name: str,
    run: Callable[[str], notebooks.Outcome],
    run_reference: Callable[[str], notebooks.Outcome],
) -> None:
    ours, reference = run(name), run_reference(name)
    word, wrong = notebooks.judge(name, notebooks.differences(ours, reference))
    print(notebooks.row(name, word, ours, reference))
    assert not wrong, wrong
