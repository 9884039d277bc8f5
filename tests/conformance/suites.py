"""Run the tests of the projects that start kernels under ipykernel and under fastshell, and compare.

Each project's tests come from the sdist of the version that is installed beside them, fetched when this
runs, in a virtual environment made for them: .venv-suites in this checkout. It sees the packages of the
interpreter that runs this script, and adds what the tests need on top.

    python tests/conformance/suites.py [--router compiled|plain] [--env FOLDER] [WORD ...]

runs the projects whose name contains one of the words, all by default, and prints a table and the tests
that differ; the exit status is 1 if one passes with ipykernel and not with ours and ALLOWED does not name
it, or if ALLOWED names one that passes.

The kernel is replaced in both ways in which these projects find it: by the kernelspec `python3`, and, for
those that start `python -m ipykernel_launcher` by themselves, by a module of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parent))
import sdists

KERNELS = ("ipykernel", "fastshell")
TIMEOUT_S = 1500  # of one project's tests under one kernel
TEST_TIMEOUT_S = 150  # of one test; that of nbclient's slowest is more than a minute on a busy machine


class Suite(NamedTuple):
    """Those tests of a project that start a kernel."""

    requires: tuple[str, ...]  # what its tests import, besides itself
    tests: tuple[str, ...]  # files in the sdist
    arguments: tuple[str, ...] = ()  # of pytest
    is_quick: bool = False


SUITES: dict[str, Suite] = {
    "jupyter_client": Suite(
        ("pytest-jupyter[client]", "msgpack"),
        (
            "tests/test_client.py",
            "tests/test_consoleapp.py",
            "tests/test_kernelapp.py",
            "tests/test_kernelmanager.py",
            "tests/test_kernelspec.py",
            "tests/test_manager.py",
            "tests/test_multikernelmanager.py",
            "tests/test_provisioning.py",
            "tests/test_restarter.py",
            "tests/test_runapp.py",
            "tests/test_transport_security.py",
        ),
    ),
    "jupyter_console": Suite(("flaky", "pexpect"), ("jupyter_console/tests/test_console.py",), is_quick=True),
    "nbclient": Suite(
        ("flaky", "ipywidgets", "nbconvert", "pytest-asyncio", "testpath", "xmltodict"),
        ("tests/test_client.py", "tests/test_cli.py"),
        ("-o", "asyncio_default_fixture_loop_scope=function"),  # unset, it warns, which is an error there
    ),
    "nbconvert": Suite(("flaky", "ipywidgets"), ("tests/preprocessors/test_execute.py",), is_quick=True),
    "nbval": Suite(
        ("matplotlib", "numpy", "pytest-cov", "sympy"),
        (
            "tests/test_collect.py",
            "tests/test_coverage.py",
            "tests/test_ignore.py",
            "tests/test_timeouts.py",
            "tests/test_unit_tests_in_notebooks.py",
        ),
    ),
    "papermill": Suite(
        ("boto3", "moto"),
        (
            "papermill/tests/test_autosave.py",
            "papermill/tests/test_cli.py",
            "papermill/tests/test_engines.py",
            "papermill/tests/test_execute.py",
        ),
    ),
}

#: (project, test): why it may fail with ours although it passes with ipykernel.
ALLOWED: dict[tuple[str, str], str] = {}

#: What the launcher that ipykernel installs is replaced by.
_LAUNCHER = "import runpy\n\nrunpy.run_module('fastshell', run_name='__main__', alter_sys=True)\n"

#: Prints what the kernel called python3 says that it is, found in both ways.
_WHO = """
import sys
from jupyter_client.manager import KernelManager

by_spec, by_launcher = KernelManager(kernel_name="python3"), KernelManager(kernel_name="python3")
by_launcher.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
for manager in by_spec, by_launcher:
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(60)
    asked = {"who": "get_ipython().kernel.__class__.__module__"}
    done = client.execute("", user_expressions=asked, reply=True, timeout=60)["content"]
    print(done["user_expressions"]["who"]["data"]["text/plain"].strip("'").partition(".")[0])
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""


class Outcome(NamedTuple):
    """Of one project's tests under one kernel."""

    tests: Mapping[str, str]  # "passed", "skipped", or the first line of what went wrong
    retried: frozenset[str]  # those that passed at the second try only
    seconds: float


class Environment:
    """The virtual environment in which the tests run; made once, and kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._bin = self._folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self._bin / ("python.exe" if os.name == "nt" else "python")

    def require(self, project: str) -> None:
        """Install a project and what its tests need, unless that was done before. Raises Unavailable."""
        wanted = [project, "pytest", "pytest-timeout", *SUITES[project].requires]
        stamp = self._folder / "installed" / f"{project}.txt"
        if stamp.is_file() and stamp.read_text("utf-8") == "\n".join(wanted):
            return
        if not self.python.exists():
            self._make()
        install = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        done = subprocess.run(install, capture_output=True, text=True, timeout=900)
        if done.returncode:
            raise sdists.Unavailable(f"{project} cannot be installed: {done.stderr.strip()[-300:]}")
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text("\n".join(wanted), "utf-8")

    def sources(self, project: str) -> Path:
        """The unpacked sdist of the version that is installed. Raises Unavailable."""
        ask = f"import importlib.metadata; print(importlib.metadata.version({project!r}))"
        version = subprocess.check_output([self.python, "-c", ask], text=True).strip()
        return sdists.fetch(project, self._folder / "sdists", version)

    def variables(self) -> dict[str, str]:
        """What makes this environment the one that is active."""
        below = Path(sys.executable).parent
        path = os.pathsep.join([str(self._bin), str(below), os.environ.get("PATH", "")])
        return os.environ | {"VIRTUAL_ENV": str(self._folder), "PATH": path}

    def _make(self) -> None:
        """On top of the packages that this interpreter has, editable installations among them."""
        venv.create(self._folder, with_pip=True)
        variables = {"base": str(self._folder), "platbase": str(self._folder)}
        packages = Path(sysconfig.get_path("purelib", "venv", variables))
        below = sysconfig.get_path("purelib")
        (packages / "below.pth").write_text(f"import site; site.addsitedir({below!r})\n", "utf-8")


class Runner:
    """Runs suites under one kernel, in a folder of its own."""

    def __init__(self, environment: Environment, folder: Path, kernel: str, router: str = "compiled") -> None:
        """kernel: one of KERNELS. router: of fastshell."""
        self._environment = environment
        self._folder = folder
        self._kernel = kernel
        module = "fastshell" if kernel == "fastshell" else "ipykernel_launcher"
        spec = folder / "jupyter" / "kernels" / "python3"
        spec.mkdir(parents=True)
        argv = [str(environment.python), "-m", module, "-f", "{connection_file}"]
        content = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        (spec / "kernel.json").write_text(json.dumps(content), "utf-8")
        modules = folder / "modules"
        modules.mkdir()
        if kernel == "fastshell":
            (modules / "ipykernel_launcher.py").write_text(_LAUNCHER, "utf-8")
        self._variables = environment.variables() | {
            "JUPYTER_PATH": str(spec.parents[1]),
            "PYTHONPATH": str(modules),
            "FASTSHELL_ROUTER": router,
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        for name in ("MPLBACKEND", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTHONSTARTUP"):
            self._variables.pop(name, None)

    def check(self) -> None:
        """See that the tests will meet the kernel that they should. Raises RuntimeError."""
        who = [self._environment.python, "-c", _WHO]
        done = subprocess.run(who, env=self._variables, capture_output=True, text=True, timeout=180)
        if done.stdout.split() != [self._kernel] * 2:
            raise RuntimeError(f"not {self._kernel} but {done.stdout.strip()}: {done.stderr}")

    def run(self, project: str) -> Outcome:
        """Run a project's tests; those that fail a second time, since many have short time limits."""
        suite = SUITES[project]
        sources = Path(tempfile.mkdtemp(prefix=f"{project}-", dir=self._folder))
        shutil.copytree(self._environment.sources(project), sources, dirs_exist_ok=True)
        start = time.monotonic()
        arguments = [*suite.tests, *suite.arguments]
        if "pytest-asyncio" not in suite.requires:
            arguments += ["-p", "no:asyncio"]  # it warns unless it is configured, which is an error for some
        first = self._pytest(sources, arguments)
        outcomes = dict(first)
        if any(_is_failure(outcome) for outcome in first.values()):
            again = ["--last-failed", "--last-failed-no-failures=none"]
            outcomes |= self._pytest(sources, [*arguments, *again])
        retried = {test for test, word in outcomes.items() if word == "passed" and first.get(test) != word}
        return Outcome(outcomes, frozenset(retried), time.monotonic() - start)

    def _pytest(self, sources: Path, arguments: Sequence[str]) -> dict[str, str]:
        log_path, report = sources / "pytest.log", sources / "report.xml"
        report.unlink(missing_ok=True)
        command = [str(self._environment.python), "-m", "pytest", "-q", f"--junit-xml={report}"]
        command += ["-p", "cacheprovider", "-o", "xfail_strict=false", f"--timeout={TEST_TIMEOUT_S}"]
        with log_path.open("ab") as log:  # no pipe: a kernel that outlives its test would hold it open
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=sources,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()
                process.wait()
        if not report.is_file():
            tail = log_path.read_text("utf-8", "replace")[-3000:]
            raise RuntimeError(f"pytest made no report, status {process.returncode}:\n{tail}")
        return {name.replace(str(sources), "."): word for name, word in _read(report).items()}


def _read(report: Path) -> dict[str, str]:
    """What a junit file says of each test. One whose teardown fails too stands there twice."""
    outcomes: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = (child.get("message") or child.text or "failed").strip().splitlines()[0][:200]
            elif child.tag == "skipped":
                outcome = "skipped"
        if not _is_failure(outcomes.get(name, "passed")):
            outcomes[name] = outcome
    return outcomes


def _is_failure(outcome: str) -> bool:
    return outcome not in ("passed", "skipped")


def differences(ours: Outcome, reference: Outcome) -> dict[str, str]:
    """The tests that pass under ipykernel and not under ours, and what they say."""
    return {
        test: ours.tests.get(test, "not run")
        for test, outcome in reference.tests.items()
        if outcome == "passed" and ours.tests.get(test) != "passed"
    }


def judge(project: str, ours: Outcome, reference: Outcome) -> str:
    """What is wrong: "" if nothing is."""
    found = differences(ours, reference)
    wrong = [
        f"{project}: {test} passes with ipykernel; with fastshell: {outcome}"
        for test, outcome in found.items()
        if (project, test) not in ALLOWED
    ]
    wrong += [
        f"{project}: {test} is in ALLOWED, but is no difference"
        for allowed_project, test in ALLOWED
        if allowed_project == project and test not in found
    ]
    if not any(outcome == "passed" for outcome in reference.tests.values()):
        wrong.append(f"{project}: no test passes with ipykernel")
    return "\n".join(wrong)


HEADER = f"{'project':18}{'tests':>7}{'ipykernel':>11}{'fastshell':>11}{'differ':>8}"


def row(project: str, ours: Outcome, reference: Outcome) -> str:
    """A line of the table: how many pass under each, and how long it took."""
    passed = [sum(word == "passed" for word in one.tests.values()) for one in (reference, ours)]
    line = f"{project:18}{len(reference.tests):7}{passed[0]:11}{passed[1]:11}"
    line += f"{len(differences(ours, reference)):8}    {reference.seconds:.0f} s, {ours.seconds:.0f} s"
    for kernel, outcome in zip(KERNELS, (reference, ours), strict=True):
        for test in sorted(outcome.retried):
            line += f"\n    at the second try with {kernel}: {test}"
    return line


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--router", default="compiled", choices=("compiled", "plain"))
    parser.add_argument("--env", type=Path, default=DEFAULT_ENVIRONMENT, help="of the tests, kept")
    parser.add_argument("--keep", type=Path, help="a new folder for what the tests write and say")
    parser.add_argument("words", nargs="*", metavar="WORD")
    options = parser.parse_args(argv)
    projects = [name for name in SUITES if not options.words or any(word in name for word in options.words)]
    problems = []
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = Environment(options.env)
        runners = {}
        for kernel in KERNELS:
            (folder / kernel).mkdir(parents=True)
            runners[kernel] = Runner(environment, folder / kernel, kernel, options.router)
        for project in projects:
            environment.require(project)
        for runner in runners.values():
            runner.check()
        print(HEADER)
        for project in projects:
            reference, ours = (runners[kernel].run(project) for kernel in KERNELS)
            print(row(project, ours, reference), flush=True)
            problems.append(judge(project, ours, reference))
    print(*filter(None, problems), sep="\n")
    return 1 if any(problems) else 0


DEFAULT_ENVIRONMENT = Path(__file__).parents[2] / ".venv-suites"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
