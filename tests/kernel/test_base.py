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
