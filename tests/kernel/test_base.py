"""`fastshell.kernel.Kernel` and `launch`: kernels for other languages, driven over the wire."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client import Client
from conftest import RunningKernel, _starts

ECHO = Path(__file__).parents[2] / "examples" / "echo_kernel.py"


def argv_of(script: Path, *flags: str) -> list[str]:
    return [sys.executable, str(script), "-f", "{connection_file}", *flags]


@pytest.fixture(scope="module")
def echo_kernel(router: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    for start in _starts(tmp_path_factory, argv_of(ECHO), {"FASTSHELL_ROUTER": router}):
        yield start()


@pytest.fixture
def echo(echo_kernel: RunningKernel) -> Iterator[Client]:
    client = echo_kernel.new_client()
    yield client
    client.check()
    client.close()


def test_one_import_and_neither_ipython_nor_traitlets_before_it() -> None:
    code = (
        "import sys\n"
        "from fastshell import launch\n"
        "import fastshell.app\n"
        "assert 'traitlets' not in sys.modules\n"
        "from fastshell.kernel import Kernel\n"
        "assert 'IPython' not in sys.modules and 'ipykernel' not in sys.modules\n"
        "assert Kernel().execution_count == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# --- the example ---


def test_the_example_is_short() -> None:
    source = ECHO.read_text("utf-8").partition('"""\n')[2]
    assert len([line for line in source.splitlines() if line.strip()]) <= 22


def test_the_example_describes_itself(echo: Client) -> None:
    for channel in ("shell", "control"):
        info = echo.request("kernel_info_request", channel=channel).ok().content
        assert info["implementation"] == "echo"
        assert info["banner"] == "Echo: says what you say"
        assert info["language_info"]["name"] == "echo"
        assert "kernel subshells" in info["supported_features"]


def test_the_example_echoes(echo: Client) -> None:
    count = echo.execute("one").ok().content["execution_count"]
    done = echo.execute("two\nthree").ok()
    assert done.text() == "two\nthree\n"
    assert done.content["execution_count"] == count + 1
    assert done.of("execute_input")[0].content == {"code": "two\nthree", "execution_count": count + 1}


def test_the_example_asks(echo: Client) -> None:
    msg_id = echo.start("?name")
    assert echo.answer(msg_id, "Ada").content == {"prompt": "name: ", "password": False}
    assert echo.finish(msg_id).ok().text() == "Ada\n"
    refused = echo.execute("?name", allow_stdin=False)
    assert refused.error is not None
    assert refused.error["ename"] == refused.content["ename"] == "StdinNotImplementedError"


def test_the_example_completes(echo: Client) -> None:
    done = echo.request("complete_request", {"code": "a\nwa", "cursor_pos": 4}).ok()
    assert done.content == {"status": "ok", "matches": ["wait"], "cursor_start": 2, "cursor_end": 4}


def test_what_the_example_lacks_is_answered(echo: Client) -> None:
    asked = echo.request("is_complete_request", {"code": "a"})
    assert asked.content == {"status": "unknown"}
    inspected = echo.request("inspect_request", {"code": "a", "cursor_pos": 1}).ok()
    assert inspected.content == {"status": "ok", "found": False, "data": {}, "metadata": {}}
    history = echo.request(
        "history_request", {"hist_access_type": "tail", "n": 3, "output": False, "raw": True}
    )
    assert history.content == {"status": "ok", "history": []}


def test_the_example_is_interrupted(echo: Client) -> None:
    msg_id = echo.start("before\nwait")
    echo.wait_text(msg_id, "before\n")
    echo.interrupt()
    done = echo.finish(msg_id)
    assert done.status == "error"
    assert done.error is not None
    assert done.error["ename"] == "KeyboardInterrupt"
    assert echo.execute("after").ok().text() == "after\n"


def test_the_example_has_subshells(echo: Client) -> None:
    """While main waits, a subshell echoes, completes and asks; it counts for itself."""
    main = echo.start("main\nwait")
    echo.wait_text(main, "main\n")
    sub = echo.create_subshell()
    done = echo.execute("sub", subshell_id=sub).ok()
    assert (done.text(), done.content["execution_count"]) == ("sub\n", 1)
    asked = echo.start("?name", subshell_id=sub)
    echo.answer(asked, "Grace")
    done = echo.finish(asked).ok()
    assert (done.text(), done.content["execution_count"]) == ("Grace\n", 2)
    content = {"code": "w", "cursor_pos": 1}
    assert echo.request("complete_request", content, subshell_id=sub).ok().content["matches"] == ["wait"]
    echo.delete_subshell(sub).ok()
    echo.interrupt()
    assert echo.finish(main).status == "error"


def test_the_example_restarts(kernel: Callable[..., RunningKernel]) -> None:
    running = kernel(argv=argv_of(ECHO))
    done = running.client.request("shutdown_request", {"restart": True}, channel="control").ok()
    assert done.content == {"status": "ok", "restart": True}
    running.wait_gone()


# --- what subclasses do ---

ODD = '''
import threading
from traitlets import Unicode
from fastshell import launch
from fastshell.kernel import Kernel

class Odd(Kernel):
    """Async, configurable, described by an instance, careless about what it returns."""

    implementation = "odd"
    greeting = Unicode("hello").tag(config=True)

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.words = ["made", self.greeting]

    @property
    def banner(self):
        return " ".join(self.words)

    async def do_execute(self, code, silent, **options):
        if code == "raise":
            raise LookupError("of the kernel")
        if code == "nothing":
            return None
        if code == "thread":
            thread = threading.Thread(target=print, args=("from a thread",))
            thread.start()
            thread.join()
        elif code == "display":
            content = {"data": {"text/plain": "shown"}, "metadata": {}}
            self.send_response(self.iopub_socket, "display_data", content, buffers=[b"raw"])
        elif code == "options":
            print(sorted(options), options["cell_id"], self.get_parent()["header"]["msg_type"])
        elif code == "secret":
            print(self.getpass("secret? "))
        return {"status": "ok", "execution_count": self.execution_count}

    async def do_complete(self, code, cursor_pos):
        return None

    def do_shutdown(self, restart):
        print("ending")

launch(Odd)
'''


@pytest.fixture(scope="module")
def odd_kernel(router: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKernel]:
    script = tmp_path_factory.mktemp("odd") / "odd.py"
    script.write_text(ODD, "utf-8")
    argv = argv_of(script, "--Odd.greeting=good day")
    for start in _starts(tmp_path_factory, argv, {"FASTSHELL_ROUTER": router}):
        yield start()


@pytest.fixture
def odd(odd_kernel: RunningKernel) -> Iterator[Client]:
    client = odd_kernel.new_client()
    yield client
    client.check()
    client.close()


def test_banner_of_an_instance_and_a_trait_from_the_command_line(odd: Client) -> None:
    assert odd.request("kernel_info_request").ok().content["banner"] == "made good day"


def test_options_of_do_execute(odd: Client) -> None:
    fields = {"code": "options", "silent": False}
    done = odd.finish(odd.send("execute_request", fields, metadata={"cellId": "cell-7"})).ok()
    names = ["allow_stdin", "cell_id", "cell_meta", "store_history", "user_expressions"]
    assert done.text() == f"{names} cell-7 execute_request\n"


def test_print_of_a_thread_and_messages_of_its_own(odd: Client) -> None:
    assert odd.execute("thread").ok().text() == "from a thread\n"
    (shown,) = odd.execute("display").ok().of("display_data")
    assert (shown.content["data"], [bytes(one) for one in shown.buffers]) == (
        {"text/plain": "shown"},
        [b"raw"],
    )


def test_getpass_is_asked_as_a_secret(odd: Client) -> None:
    msg_id = odd.start("secret")
    assert odd.answer(msg_id, "xyzzy").content == {"prompt": "secret? ", "password": True}
    assert odd.finish(msg_id).ok().text() == "xyzzy\n"


@pytest.mark.parametrize(("code", "ename"), [("raise", "LookupError"), ("nothing", "TypeError")])
def test_a_do_execute_that_fails_is_shown(odd: Client, code: str, ename: str) -> None:
    done = odd.execute(code)
    assert done.error is not None
    assert done.status == "error"
    assert done.error["ename"] == done.content["ename"] == ename
    odd.execute("").ok()


def test_none_stands_for_knowing_nothing(odd: Client) -> None:
    done = odd.request("complete_request", {"code": "ab", "cursor_pos": 1}).ok()
    assert (done.content["matches"], done.content["cursor_start"]) == ([], 1)


def test_a_do_shutdown_that_returns_nothing(kernel: Callable[..., RunningKernel], tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD, "utf-8")
    running = kernel(argv=argv_of(tmp_path / "odd.py"))
    done = running.client.request("shutdown_request", {"restart": False}, channel="control").ok()
    assert done.content == {"status": "ok", "restart": False}
    assert running.wait_gone() == 0


def test_a_kernel_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    source = ODD.replace('self.words = ["made", self.greeting]', 'raise OSError("no language here")')
    (tmp_path / "odd.py").write_text(source, "utf-8")
    command = [sys.executable, str(tmp_path / "odd.py"), "-f", str(tmp_path / "connection.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no language here" in done.stderr
