"""ipykernel's own tests of a kernel over the wire pass with fastshell, but for the named exceptions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import ipykernel_tests
import sdists

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ipykernel's, with its tests."""
    try:
        return sdists.fetch("ipykernel", tmp_path_factory.mktemp("sdist"))
    except sdists.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def runner(sdist: Path, router: str, tmp_path_factory: pytest.TempPathFactory) -> ipykernel_tests.Runner:
    return ipykernel_tests.Runner(sdist, tmp_path_factory.mktemp("i"), router)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", ipykernel_tests.FILES)
def test_as_expected(file: str, runner: ipykernel_tests.Runner) -> None:
    verdicts = runner.run(file)
    assert verdicts
    wrong = ipykernel_tests.judge(verdicts)
    assert not wrong, "\n".join(wrong)
