"""Run ipykernel's own tests that drive a kernel over the wire, with fastshell in ipykernel's place.

They come from ipykernel's sdist, of the version that is installed, fetched when this runs. Their kernel
is what jupyter_client starts by the name python3: here that is ours, by a kernelspec in JUPYTER_PATH,
which comes before all others. Nothing else of the tests is changed, but their conftest.py is left out:
it makes mock kernels inside the test's process, for the files that are not run here.

    python tests/conformance/ipykernel_tests.py [--router compiled|plain] [--reference] [WORD ...]

runs the tests whose id contains one of the words, all by default, and prints what is not as expected;
the exit status is 1 if there is such. With --reference ipykernel itself is tested.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from sdists import fetch

from fastshell import kernelspec

#: The files that drive a kernel in another process.
FILES = ("test_async", "test_message_spec", "test_kernel", "test_subshells")

#: Of these, the ones that take more than half a minute.
LONG = frozenset({"test_kernel", "test_subshells"})

#: Files that start a kernel otherwise, and why they are not run.
NOT_RUN: dict[str, str] = {
    "test_debugger": "there is no debugger yet",
    "test_embed_kernel": "embeds by ipykernel.embed, which is not served outside of a kernel's process",
    "test_start_kernel": "starts by ipykernel.kernelapp in a program of its own: the same",
    "test_matplotlib_eventloops": "opens windows, and so needs a display",
}

#: Tests of these files that start no kernel by its name, and why they are not run.
LEFT_OUT: dict[str, str] = {
    "test_kernel::test_help_output": "runs `ipython kernel --help-all`, a command of ipykernel's own",
}

_THREADS = (
    "expects text of a thread under the cell that runs when it is printed: here it stays under the cell "
    "that started the thread, unless the thread chooses another parent"
)

#: Tests that fail with fastshell, and why that is right. One that passes is a mistake of this list.
EXCEPTIONS: dict[str, str] = {
    "test_kernel::test_print_to_correct_cell_from_thread[none]": _THREADS,
    "test_kernel::test_print_to_correct_cell_from_thread[thread-local]": _THREADS,
    "test_kernel::test_parent_header_and_ident": (
        "expects to find a kernel_info_request, sent on control, as that channel's parent: here the router "
        "answers it, and no Python code learns of it; its first half, about the shell channel, passes"
    ),
    "test_kernel::test_sequential_control_messages": (
        "executes code on the control channel: here that runs no user code, so that interrupting, shutting "
        "down and subshells are always answered at once"
    ),
    "test_message_spec::test_non_execute_stop_on_error": (
        "expects the reply to kernel_info behind that of the cell which runs: here the router answers it "
        "at once, so that front ends can connect meanwhile"
    ),
}

#: Tests that a race decides here, and why that is right.
SOMETIMES: dict[str, str] = {
    "test_subshells::test_thread_counts": (
        "expects a subshell's thread to be gone when its deletion is answered: here nothing waits for a "
        "thread, as it might run the user's code; that of an idle subshell ends right after"
    ),
}

#: Tests that skip themselves on Linux, with ipykernel too.
SKIPPED: dict[str, str] = {
    "test_kernel::test_capture_fd": "ipykernel does not capture file descriptors when under test",
    "test_kernel::test_subprocess_peek_at_stream_fileno": "the same",
    "test_kernel::test_complete": "for Windows",
    "test_kernel::test_unc_paths": "for Windows",
    "test_kernel::test_shutdown_subprocesses": "stalls on Linux, says ipykernel",
}

TIMEOUT_S = 60  # of a test

_INI = f"""\
[pytest]
addopts = -ra --strict-markers -p no:cacheprovider --import-mode=prepend
timeout = {TIMEOUT_S}
markers = flaky: a test that ipykernel repeats when it fails; here it is run once
"""

_CONFTEST = """\
import pytest
from jupyter_client.kernelspec import KernelSpecManager


def pytest_addoption(parser):
    parser.addoption("--cov", default=None)  # pytest-cov's, which a test asks for


def pytest_configure(config):
    argv = KernelSpecManager().get_kernel_spec("python3").argv
    assert {module!r} in argv, argv


@pytest.fixture
def kc():
    from .utils import new_kernel

    with new_kernel() as kc:
        yield kc
"""


class Verdict(NamedTuple):
    """How one test ended."""

    outcome: str  # passed, failed, skipped
    detail: str


class Runner:
    """Runs files of tests in processes of their own, all in one folder."""

    def __init__(self, sdist: Path, folder: Path, router: str = "compiled", *, is_reference: bool = False):
        """sdist: as `sdists.fetch` unpacks it. folder: an empty one of this runner's own."""
        self._folder = folder
        self._tests = folder / "tests"
        shutil.copytree(sdist / "tests", self._tests)
        (folder / "pytest.ini").write_text(_INI)
        module = "ipykernel_launcher" if is_reference else "fastshell"
        (self._tests / "conftest.py").write_text(_CONFTEST.format(module=module))
        self._env = os.environ | {
            "FASTSHELL_ROUTER": router,
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTER_PATH": str(folder / "share" / "jupyter"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        for name in ("MPLBACKEND", "JPY_SESSION_NAME", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST"):
            self._env.pop(name, None)
        if not is_reference:
            kernelspec.install(prefix=folder, name="python3")

    def run(self, file: str, words: Iterable[str] = ()) -> dict[str, Verdict]:
        """The verdicts of one of FILES by test id, such as test_kernel::test_shutdown.

        EXCEPTIONS come last and each by itself: a test that fails leaves the kernel that all share in a
        state that others do not expect.
        """
        exceptions = [name for name in EXCEPTIONS if name.startswith(f"{file}::")]
        apart = [*exceptions, *(name for name in LEFT_OUT if name.startswith(f"{file}::"))]
        options = [f"--deselect=tests/{name.replace('::', '.py::')}" for name in apart]
        if words:
            options += ["-k", " or ".join(words)]
        found = self._pytest(file, f"tests/{file}.py", *options)
        for name in exceptions:
            if all(word in name for word in words):
                found |= self._pytest(file, f"tests/{name.replace('::', '.py::')}")
        return found

    def _pytest(self, file: str, *arguments: str) -> dict[str, Verdict]:
        report, log = self._folder / f"{file}.xml", self._folder / f"{file}.log"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}"]
        with log.open("wb") as output:  # not a pipe, which a kernel that is left would hold open
            subprocess.run(
                command, cwd=self._folder, env=self._env, stdout=output, stderr=output, check=False
            )
        if not report.exists():
            raise RuntimeError(f"{arguments} was not run:\n{log.read_text(errors='replace')}")
        return _verdicts(report, file)


def _verdicts(report: Path, file: str) -> dict[str, Verdict]:
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        outcome, detail = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                outcome = "skipped" if child.tag == "skipped" else "failed"
                detail += f"{child.get('message')}\n{child.text or ''}\n"
            elif child.tag in ("system-out", "system-err") and outcome == "failed":
                detail += child.text or ""
        found[f"{file}::{case.get('name')}"] = Verdict(outcome, detail)
    return found


def judge(verdicts: dict[str, Verdict]) -> list[str]:
    """What is not as the lists above say it; of tests that were run."""
    wrong = []
    for name, (outcome, detail) in verdicts.items():
        expected = "failed" if name in EXCEPTIONS else "skipped" if name in SKIPPED else "passed"
        if outcome != expected and name not in SOMETIMES:
            wrong.append(f"{name} {outcome}, expected: {expected}\n{textwrap.indent(detail, '    ')}")
    return wrong


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--router", default="compiled", choices=("compiled", "plain"))
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("words", nargs="*", metavar="WORD")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        sdist = fetch("ipykernel", Path(folder, "sdist"))
        runner = Runner(sdist, Path(folder, "run"), options.router, is_reference=options.reference)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = pool.map(lambda file: runner.run(file, options.words), FILES)
            verdicts = {name: verdict for found in results for name, verdict in found.items()}
    wrong = judge(verdicts)
    counts = {
        word: sum(v.outcome == word for v in verdicts.values()) for word in ("passed", "failed", "skipped")
    }
    print(*wrong, counts, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
