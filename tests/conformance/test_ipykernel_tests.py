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
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[pytest.mark.long] if file in ipykernel_tests.LONG else [])
        for file in ipykernel_tests.FILES
    ],
)
def test_as_expected(file: str, runner: ipykernel_tests.Runner) -> None:
    verdicts = runner.run(file)
    assert verdicts
    wrong = ipykernel_tests.judge(verdicts)
    assert not wrong, "\n".join(wrong)


def test_lists_name_tests_that_exist(sdist: Path) -> None:
    named = {**ipykernel_tests.EXCEPTIONS, **ipykernel_tests.LEFT_OUT, **ipykernel_tests.SKIPPED}
    for name in {**named, **ipykernel_tests.SOMETIMES}:
        file, function = name.partition("[")[0].split("::")
        assert f"def {function}(" in (sdist / "tests" / f"{file}.py").read_text(), name
    for file in (*ipykernel_tests.FILES, *ipykernel_tests.NOT_RUN):
        assert (sdist / "tests" / f"{file}.py").exists(), file
