"""Kernels for other languages that were written for ipykernel, unchanged, beside themselves under ipykernel.

bash_kernel subclasses ipykernel's Kernel and drives a bash by pexpect; metakernel_echo is a kernel on
metakernel, which uses all that ipykernel's Kernel and IPKernelApp have. Both are fetched from the package
index into a folder of their own, which only their kernels see.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client import Client, Done
from conftest import RunningKernel, _starts

PACKAGES = [
    "bash_kernel==0.10.0",
    "metakernel==1.0.7",
    "pexpect==4.9.0",
    "ptyprocess==0.7.0",
    "filetype==1.2.0",
]
ECHO_SDIST = "metakernel_echo==0.11.3"  # its setup.py needs an IPython of long ago, its one module does not

pytestmark = [
    pytest.mark.timeout(400),  # the first one fetches
    pytest.mark.skipif(sys.platform == "win32", reason="pexpect's spawn needs a pty"),
]


@pytest.fixture(scope="session")
def wrappers(request: pytest.FixtureRequest) -> Path:
    """A folder for PYTHONPATH that has the kernels."""
    folder = Path(request.config.cache.mkdir("wrapper-kernels"))
    if not (folder / "metakernel_echo.py").exists():
        _pip("install", "--no-deps", "--upgrade", "--target", str(folder), *PACKAGES)
        _pip("download", "--no-deps", "--dest", str(folder), ECHO_SDIST)
        with zipfile.ZipFile(next(folder.glob("metakernel_echo-*.zip"))) as sdist:
            module = next(name for name in sdist.namelist() if name.endswith("/metakernel_echo.py"))
            (folder / "metakernel_echo.py").write_bytes(sdist.read(module))
    return folder


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"the package index cannot be had: {done.stderr.strip()[-300:]}")


class Pair:
    """The same kernel, by us and by ipykernel."""

    def __init__(self, ours: RunningKernel, reference: RunningKernel) -> None:
        self.kernels = (ours, reference)
        self.ours, self.reference = ours.client, reference.client

    def both(self, ask: Callable[[Client], Done]) -> Done:
        """Ask both the same, and assert that reply and output agree. Returns what ours said."""
        ours, reference = ask(self.ours), ask(self.reference)
        assert ours.content == reference.content
        assert shown(ours) == shown(reference)
        return ours

    def execute(self, code: str, **options: Any) -> Done:
        return self.both(lambda client: client.execute(code, **options))

    def request(self, msg_type: str, content: dict[str, Any], **options: Any) -> Done:
        return self.both(lambda client: client.request(msg_type, content, **options))


def shown(done: Done) -> list[tuple[str, Any]]:
    """What came on iopub; pieces of one text as one.

    Without carriage returns: bash_kernel passes one on where a read of its terminal ends with it.
    """
    found: list[tuple[str, Any]] = []
    for message in done.iopub:
        kind, content = message.msg_type, message.content
        if kind == "stream":
            kind, content = f"stream {content['name']}", content["text"].replace("\r", "")
            if found and found[-1][0] == kind:
                content = found.pop()[1] + content
        if kind != "status":
            found.append((kind, content))
    return found


def pair_of(
    module: str, router: str, wrappers: Path, folders: pytest.TempPathFactory, *flags: str
) -> Iterator[Pair]:
    home = str(folders.mktemp("home"))  # where they keep their history
    env = {"PYTHONPATH": str(wrappers), "HOME": home}
    tail = [module, "-f", "{connection_file}", *flags]
    ours = [sys.executable, "-m", "fastshell", "run", *tail]
    reference = [sys.executable, "-m", *tail]
    for start in _starts(folders, ours, env | {"FASTSHELL_ROUTER": router}):
        for start_reference in _starts(folders, reference, env, expects_welcome=False):
            pair = Pair(start(), start_reference())
            yield pair
            pair.kernels[1].kill()  # how it ends is its own affair: it may wait for its bash


def ask_info(pair: Pair) -> dict[str, Any]:
    """kernel_info, alike but for what the two bases say of themselves."""
    found = []
    for client in (pair.ours, pair.reference):
        content = client.request("kernel_info_request").ok().content
        assert "kernel subshells" in content["supported_features"]
        own = ("protocol_version", "supported_features", "debugger")
        found.append({name: value for name, value in content.items() if name not in own})
    assert found[0] == found[1]
    return found[0]


# --- bash_kernel ---


@pytest.fixture(scope="module")
def bash(router: str, wrappers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    yield from pair_of("bash_kernel", router, wrappers, tmp_path_factory)


def test_bash_describes_itself(bash: Pair) -> None:
    """Its banner is a property that asks bash."""
    info = ask_info(bash)
    assert info["implementation"] == "bash_kernel"
    assert "GNU bash" in info["banner"]
    assert info["language_info"]["name"] == "bash"


@pytest.mark.parametrize(
    "code",
    [
        "echo hello",
        "x='two words'",
        'echo "$x"; echo more',
        "ls /nowhere-at-all",
        "for i in $(seq 1 500); do echo $i; done",
        "printf 'no newline, and \\u00fc'",
        "f() {\n  echo in f $1\n}\nf 1",
        "false",
        "(exit 7)",
        "echo one \\",
        "   ",
        "echo '<b>bold</b>' | displayHTML",
        "displayHTML <<< '<i>1</i>' && echo after",
    ],
)
def test_bash_executes(bash: Pair, code: str) -> None:
    bash.execute(code)


def test_bash_silently(bash: Pair) -> None:
    done = bash.execute("echo hidden", silent=True)
    assert shown(done) == []


def test_bash_says_what_went_wrong(bash: Pair) -> None:
    assert bash.execute("ls /nowhere-at-all").content["evalue"] == "2"
    assert bash.execute("echo yes").ok().text() == "yes\n"


@pytest.mark.parametrize("code", ["ech", "$HO", "ls /et", "cat /etc/hos", "no-such-command-at-al"])
def test_bash_completes(bash: Pair, code: str) -> None:
    done = bash.request("complete_request", {"code": code, "cursor_pos": len(code)})
    assert (done.content["matches"] == []) == code.startswith("no-such")


def test_bash_leaves_the_rest_to_the_base(bash: Pair) -> None:
    bash.request("is_complete_request", {"code": "echo"})
    bash.request("inspect_request", {"code": "echo", "cursor_pos": 2})
    tail = {"hist_access_type": "tail", "n": 2, "output": False, "raw": True}
    bash.request("history_request", tail)
    bash.request("comm_info_request", {})


@pytest.mark.parametrize("by", ["message", "signal"])
def test_bash_is_interrupted(bash: Pair, by: str) -> None:
    def ask(client: Client) -> Done:
        running = bash.kernels[0] if client is bash.ours else bash.kernels[1]
        # The process that prints is the one to interrupt: bash starts no other one behind it.
        msg_id = client.start("sh -c 'echo before; exec sleep 1000'; echo after")
        client.wait_text(msg_id, "before")
        if by == "message":
            client.interrupt()
        else:
            os.kill(running.pid, signal.SIGINT)
        return client.finish(msg_id)

    done = bash.both(ask)
    assert (done.status, "after" in done.text()) == ("abort", False)
    assert bash.execute("echo again").ok().text() == "again\n"


def test_bash_stops_at_an_error(bash: Pair) -> None:
    for client in (bash.ours, bash.reference):
        first, second = client.start("sleep 0.2; false"), client.start("echo not reached")
        assert client.finish(first).status == "error"
        assert client.finish(second).status == "aborted"


def test_bash_on_a_subshell(bash: Pair) -> None:
    """One bash, two shells, each with its own count (JEP 91; ipykernel has one for all)."""
    ours = bash.ours
    ours.execute("shared=1").ok()
    sub = ours.create_subshell()
    done = ours.execute("echo $shared", subshell_id=sub).ok()
    assert (done.text(), done.content["execution_count"]) == ("1\n", 1)
    content = {"code": "ech", "cursor_pos": 3}
    assert "echo" in ours.request("complete_request", content, subshell_id=sub).ok().content["matches"]
    ours.delete_subshell(sub).ok()
    bash.reference.execute("shared=1").ok()  # so that the counts agree again


def test_bash_restarts(bash: Pair, kernel: Callable[..., RunningKernel], wrappers: Path) -> None:
    argv = [sys.executable, "-m", "fastshell", "run", "bash_kernel", "-f", "{connection_file}"]
    running = kernel(argv=argv, env={"PYTHONPATH": str(wrappers)})
    running.client.execute("x=1").ok()
    done = running.client.request("shutdown_request", {"restart": True}, channel="control")
    assert done.content == {"status": "ok", "restart": True}
    assert running.wait_gone() == 0


def test_bash_moves_over_by_one_import(
    bash: Pair, kernel: Callable[..., RunningKernel], wrappers: Path, tmp_path: Path
) -> None:
    """Without any of ipykernel's names in the process."""
    shutil.copytree(wrappers / "bash_kernel", tmp_path / "bash_kernel")
    module = tmp_path / "bash_kernel" / "kernel.py"
    old, new = "from ipykernel.kernelbase import Kernel", "from fastshell.kernel import Kernel"
    source = module.read_text("utf-8")
    assert source.count(old) == 1
    module.write_text(source.replace(old, new), "utf-8")
    main = "from fastshell import launch\nfrom bash_kernel.kernel import BashKernel\nlaunch(BashKernel)\n"
    (tmp_path / "main.py").write_text(main, "utf-8")
    argv = [sys.executable, str(tmp_path / "main.py"), "-f", "{connection_file}"]
    client = kernel(argv=argv, env={"PYTHONPATH": str(wrappers)}).client
    assert client.request("kernel_info_request").ok().content["implementation"] == "bash_kernel"
    assert client.execute("echo moved").ok().text() == "moved\n"
    client.check()


WITHOUT_IPYKERNEL = """
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name == "ipykernel" else find_spec(name, *where)
"""


def test_bash_without_ipykernel(kernel: Callable[..., RunningKernel], wrappers: Path, tmp_path: Path) -> None:
    """As where it is not installed: the import system does not find it."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_IPYKERNEL, "utf-8")
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{wrappers}"}
    check = [sys.executable, "-c", "import ipykernel"]
    refused = subprocess.run(check, env=os.environ | env, capture_output=True, text=True, timeout=60)
    assert "ModuleNotFoundError" in refused.stderr
    argv = [sys.executable, "-m", "fastshell", "run", "bash_kernel", "-f", "{connection_file}"]
    client = kernel(argv=argv, env=env).client
    assert client.execute("echo alone").ok().text() == "alone\n"


# --- metakernel ---

#: Not one long sleep: a SIGINT just before the system call would be noted after it only, as in any Python.
WAIT = "%%python\nimport time\nprint('before')\nwhile True:\n    time.sleep(0.05)"


@pytest.fixture(scope="module")
def echo(router: str, wrappers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    flags = ["--MetaKernelEcho.plot_settings={'backend': 'of the command line'}"]
    yield from pair_of("metakernel_echo", router, wrappers, tmp_path_factory, *flags)


def test_echo_describes_itself(echo: Pair) -> None:
    assert ask_info(echo)["implementation"] == "MetaKernel Echo"


@pytest.mark.parametrize(
    "code",
    [
        "say this",
        "",
        "%python 1 + 1",
        "%%python\nprint('from python')\nretval = [1, 2]",
        "%python kernel.plot_settings",  # a trait, set by the command line
        "%python kernel.Error('on stderr')",
        "%python kernel.Display({'text/html': '<b>1</b>'})",
        "%lsmagic",
        "?%python",
        "%no_such_magic",
    ],
)
def test_echo_executes(echo: Pair, code: str) -> None:
    echo.execute(code)


@pytest.mark.parametrize("code", ["%pyt", "%lsm", "nothing", "/etc/hos"])
def test_echo_completes(echo: Pair, code: str) -> None:
    echo.request("complete_request", {"code": code, "cursor_pos": len(code)})


@pytest.mark.parametrize("code", ["%python 1", "some", "some\n"])
def test_echo_knows_what_is_complete(echo: Pair, code: str) -> None:
    echo.request("is_complete_request", {"code": code})


def test_echo_inspects(echo: Pair) -> None:
    echo.request("inspect_request", {"code": "%python", "cursor_pos": 4})
    tail = {"hist_access_type": "tail", "n": 2, "output": False, "raw": True}
    echo.request("history_request", tail)
    echo.request("comm_info_request", {})


def test_echo_asks(echo: Pair) -> None:
    def ask(client: Client) -> Done:
        msg_id = client.start("%python print(kernel.raw_input('name? '))")
        assert client.answer(msg_id, "Ada").content == {"prompt": "name? ", "password": False}
        return client.finish(msg_id)

    assert echo.both(ask).ok().text() == "Ada\n"


def test_echo_is_interrupted(echo: Pair) -> None:
    """ipykernel gives no reply here."""
    ours = echo.ours
    msg_id = ours.start(WAIT)
    ours.wait_text(msg_id, "before\n")
    ours.interrupt()
    done = ours.finish(msg_id)
    assert done.error is not None
    assert done.error["ename"] == done.content["ename"] == "KeyboardInterrupt"
    assert ours.execute("again").ok().result == "'again'"


def test_echo_on_a_subshell_while_main_is_busy(echo: Pair) -> None:
    ours = echo.ours
    main = ours.start(WAIT)
    ours.wait_text(main, "before\n")
    sub = ours.create_subshell()
    done = ours.execute("beside", subshell_id=sub).ok()
    assert (done.result, done.content["execution_count"]) == ("'beside'", 1)
    printed = ours.execute("%python print('beside')", subshell_id=sub).ok()
    assert printed.text() == "beside\n"
    assert ours.text(main) == "before\n"
    ours.delete_subshell(sub).ok()
    ours.interrupt()
    assert ours.finish(main).status == "error"


def test_each_request_of_all_these_got_its_reply(bash: Pair, echo: Pair) -> None:
    bash.ours.check()
    echo.ours.check()
