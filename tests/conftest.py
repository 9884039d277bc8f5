"""Kernel processes for tests: fastshell with either router, and ipykernel to compare with.

Fixtures:
    router           "compiled" and "plain" in turn; a test that uses it, or one below, runs on both
    kernel           factory: kernel(*argv, env={}, transport="tcp") -> RunningKernel, a new process each
    reference_kernel the same for ipykernel
    shared_kernel    one RunningKernel for all tests of a module
    client           a new Client on shared_kernel; at the end its `check` must pass
    both             fastshell and ipykernel side by side, for all tests of a module; see tests/both.py
    reference        a new Client on one ipykernel for all tests of a module

At the end of its life a kernel is asked to shut down, and its process must be gone. Its stderr is
printed, which pytest shows for tests that failed. See tests/client.py for what a Client can do.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from both import Both
from client import TIMEOUT_S, Client

FASTSHELL = [sys.executable, "-m", "fastshell", "-f", "{connection_file}"]
REFERENCE = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
GONE_WITHIN_S = 5.0  # from shutdown_reply; the kernel's own limit is 1 s, a loaded machine adds to it


class RunningKernel:
    """A kernel process, its KernelManager (`manager`) and a first Client (`client`)."""

    def __init__(
        self,
        folder: Path,
        argv: list[str],
        env: dict[str, str],
        *,
        transport: str = "tcp",
        metadata: dict[str, Any] | None = None,
        expects_welcome: bool = True,
    ) -> None:
        """Start it and wait until it answers. folder: its own, with a short path for transport="ipc"."""
        self.folder = folder
        self.stderr_path = folder / "stderr"
        self._printed_bytes = 0
        self._clients: list[Client] = []
        self._expects_welcome = expects_welcome
        self.manager = KernelManager(transport=transport, connection_file=str(folder / "kernel-test.json"))
        self.manager._kernel_spec = KernelSpec(
            argv=argv, display_name="test", language="python", metadata=metadata or {}
        )
        dropped = ("MPLBACKEND", "JUPYTER_PATH", "JUPYTER_CONFIG_DIR", "JPY_SESSION_NAME", "FASTSHELL_ROUTER")
        dropped += ("PYTEST_CURRENT_TEST",)  # with it, ipykernel does not capture file descriptors
        inherited = {name: value for name, value in os.environ.items() if name not in dropped}
        own = {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
        with self.stderr_path.open("wb") as stderr:
            self.manager.start_kernel(env=inherited | own | env, stdout=stderr, stderr=stderr)
        self.process: subprocess.Popen[bytes] = self.manager.provisioner.process
        try:
            self.client = self.new_client()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def new_client(self) -> Client:
        """A further front end, ready; closed with the kernel."""
        client = Client(self.manager, expects_welcome=self._expects_welcome)
        self._clients.append(client)
        client.wait_ready()
        return client

    def stderr(self) -> str:
        """What the process has written to its original stdout and stderr."""
        return self.stderr_path.read_text("utf-8", "replace")

    def print_stderr(self) -> None:
        """Print what was not printed yet, for the report of a failed test."""
        text = self.stderr_path.read_bytes()[self._printed_bytes :]
        self._printed_bytes += len(text)
        if text:
            print(f"--- stderr of kernel {self.pid}:\n{text.decode('utf-8', 'replace')}")

    def shutdown(self) -> None:
        """Ask it to end, by a client of its own; fail unless it is gone in time. Again: does nothing."""
        try:
            if self.process.poll() is None:
                client = Client(self.manager, expects_welcome=self._expects_welcome)
                self._clients.append(client)
                client.reply(client.send("shutdown_request", {"restart": False}, channel="control"))
                self.wait_gone()
        finally:
            self.kill()

    def wait_gone(self, timeout_s: float = GONE_WITHIN_S) -> int:
        """Fail unless the process ends by itself; its exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"kernel {self.pid} still runs after {timeout_s} s") from None

    def kill(self) -> None:
        """Whatever it does: no process, no socket and no file is left."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT_S)
        self.manager.cleanup_resources()
        self.print_stderr()


@pytest.fixture(scope="session", params=["compiled", "plain"])
def router(request: pytest.FixtureRequest) -> str:
    """Each router in turn. Where the compiled one should be there, its absence is a failure."""
    if request.param == "compiled":
        try:
            importlib.import_module("fastshell._router")
        except ImportError as error:
            if sys.platform == "linux":
                raise
            pytest.skip(f"no compiled router on this platform: {error}")
    return str(request.param)


def _starts(
    folders: pytest.TempPathFactory, argv: list[str], env: dict[str, str], **defaults: Any
) -> Iterator[Callable[..., RunningKernel]]:
    """Make a factory of kernels, end them at last."""
    made: list[RunningKernel] = []

    def start(
        *extra: str, argv: list[str] = argv, env: dict[str, str] = env, **options: Any
    ) -> RunningKernel:
        folder = folders.mktemp("k")  # not tmp_path: the names of ipc sockets have to be short
        made.append(RunningKernel(folder, [*argv, *extra], base_env | env, **(defaults | options)))
        return made[-1]

    base_env = env
    yield start
    failures: list[Exception] = []
    for one in made:
        try:
            one.shutdown()
        except (AssertionError, OSError) as error:
            failures.append(error)
    if failures:
        raise failures[0]


@pytest.fixture
def kernel(router: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningKernel]]:
    """Start fastshell: kernel(*extra_argv, env={...}, transport="tcp"|"ipc", metadata={...}).

    argv=[...] is the whole command line instead, with {connection_file} in it.
    """
    yield from _starts(tmp_path_factory, FASTSHELL, {"FASTSHELL_ROUTER": router})


@pytest.fixture
def reference_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningKernel]]:
    """Start ipykernel, with the same arguments."""
    yield from _starts(tmp_path_factory, REFERENCE, {}, expects_welcome=False)


@pytest.fixture(scope="module")
def shared_kernel(router: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """One kernel for the tests of a module: they see each other's names."""
    for start in _starts(tmp_path_factory, FASTSHELL, {"FASTSHELL_ROUTER": router}):
        yield start()


@pytest.fixture
def client(shared_kernel: RunningKernel) -> Iterator[Client]:
    """A front end of the module's kernel; each of its requests must get its one reply and its one idle."""
    client = shared_kernel.new_client()
    yield client
    try:
        client.check()
    finally:
        client.close()
        shared_kernel.print_stderr()


@pytest.fixture(scope="module")
def shared_reference(router: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    """One ipykernel for the tests of a module; a new one for each router, as ours is."""
    kernel = RunningKernel(tmp_path_factory.mktemp("k"), REFERENCE, {}, expects_welcome=False)
    yield kernel
    kernel.kill()


@pytest.fixture
def both(client: Client, shared_reference: RunningKernel) -> Iterator[Both]:
    """The module's two kernels; `client` is the one front end of ours."""
    reference = shared_reference.new_client()
    yield Both(client, reference)
    reference.close()


@pytest.fixture
def reference(shared_reference: RunningKernel) -> Iterator[Client]:
    """A front end of the module's ipykernel, for what is not one cell after the other."""
    reference = shared_reference.new_client()
    yield reference
    reference.close()
