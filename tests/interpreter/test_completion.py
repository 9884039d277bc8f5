"""complete, inspect, is_complete, history, comm_info; and requests whose content is not what it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from client import Client


@pytest.fixture
def subshell(client: Client) -> Iterator[str]:
    """The id of a subshell."""
    subshell_id = client.create_subshell()
    yield subshell_id
    client.delete_subshell(subshell_id).ok()


def complete(client: Client, code: str, cursor_pos: int | None = None, **options: Any) -> dict[str, Any]:
    content = {"code": code, "cursor_pos": len(code) if cursor_pos is None else cursor_pos}
    return client.request("complete_request", content, **options).ok().content


# --- complete ---


@pytest.mark.parametrize(
    ("code", "cursor_pos", "match", "start", "end"),
    [
        ("zi", 2, "zip", 0, 2),
        ("x = zi", 6, "zip", 4, 6),
        ("zi; y", 2, "zip", 0, 2),
        ("import tokeni", 13, "tokenize", 7, 13),
        ("a = 1\nzi", 8, "zip", 6, 8),
        ("'é😀'; zi", 8, "zip", 6, 8),  # positions are in characters, not in bytes or UTF-16 units
        ("own_na", 6, "own_name", 0, 6),
        ("own_name.own_attr", 17, "own_attribute", 9, 17),
        ("%lsma", 5, "%lsmagic", 0, 5),
        ("%%timei", 7, "%%timeit", 0, 7),
        ("own_dict['ak", 12, "akey", 10, 12),
    ],
)
def test_complete(client: Client, code: str, cursor_pos: int, match: str, start: int, end: int) -> None:
    client.execute("class Own: own_attribute = 1\nown_name = Own(); own_dict = {'akey': 1, 'akez': 2}").ok()
    content = complete(client, code, cursor_pos)
    assert match in [one.rstrip("']") for one in content["matches"]]
    assert (content["cursor_start"], content["cursor_end"]) == (start, end)


def test_complete_gives_types(client: Client) -> None:
    client.execute("def own_function(a, b): pass").ok()
    content = complete(client, "own_func")
    (found,) = content["metadata"]["_jupyter_types_experimental"]
    assert (found["text"], found["type"], found["start"], found["end"]) == ("own_function", "function", 0, 8)
    assert found["signature"] == "(a, b)"


def test_complete_nothing(client: Client) -> None:
    content = complete(client, "a_name_that_is_nowhere_at_")
    assert content["matches"] == []
    assert content["cursor_start"] <= content["cursor_end"] == 26


@pytest.mark.parametrize("cursor_pos", [None, -1, 1000])
def test_complete_with_an_odd_cursor(client: Client, cursor_pos: int | None) -> None:
    """Absent: at the end; outside: the nearest inside."""
    content = {"code": "zi"} | ({} if cursor_pos is None else {"cursor_pos": cursor_pos})
    reply = client.request("complete_request", content).ok().content
    assert 0 <= reply["cursor_start"] <= reply["cursor_end"] <= 2
    if cursor_pos != -1:
        assert "zip" in reply["matches"]


def test_complete_in_a_subshell(client: Client, subshell: str) -> None:
    client.execute("made_in_main = 1").ok()
    assert "made_in_main" in complete(client, "made_in", subshell_id=subshell)["matches"]


def test_complete_while_main_runs(client: Client, subshell: str) -> None:
    """A subshell answers what main is too busy for (invariant 4)."""
    client.execute("import threading; go_on = threading.Event()").ok()
    msg_id = client.start("print('runs'); ok = go_on.wait(20)")
    client.wait_text(msg_id, "runs")
    assert "zip" in complete(client, "zi", subshell_id=subshell)["matches"]
    client.execute("go_on.set()", subshell_id=subshell).ok()
    client.finish(msg_id).ok()


def test_complete_with_a_failing_attribute(client: Client) -> None:
    """User code that fails while names are looked up does not fail the request."""
    client.execute("class Bad:\n    def __dir__(self): 1/0\nbad_object = Bad()").ok()
    done = client.request("complete_request", {"code": "bad_object.", "cursor_pos": 11})
    assert done.status in ("ok", "error")
    assert client.execute("6*7").ok().result == "42"


# --- inspect ---


@pytest.mark.parametrize(
    ("code", "cursor_pos", "text"),
    [
        ("zip", 3, "zip"),
        ("zip(", 4, "zip"),
        ("zip([1], ", 9, "zip"),
        ("documented", 4, "what it does"),
        ("%lsmagic", 5, "magic"),
        ("'é'; documented", 12, "what it does"),
    ],
)
def test_inspect(client: Client, code: str, cursor_pos: int, text: str) -> None:
    client.execute("def documented():\n    '''what it does'''").ok()
    done = client.request("inspect_request", {"code": code, "cursor_pos": cursor_pos, "detail_level": 0})
    assert done.ok().content["found"] is True
    assert text in done.content["data"]["text/plain"]


def test_inspect_source(client: Client) -> None:
    client.execute("def documented():\n    '''what it does'''\n    return 'the source'").ok()
    content = {"code": "documented", "cursor_pos": 3, "detail_level": 1}
    assert "the source" in client.request("inspect_request", content).ok().content["data"]["text/plain"]


def test_inspect_nothing(client: Client) -> None:
    for code in ("nowhere_at_all", "", "1 + "):
        done = client.request("inspect_request", {"code": code, "cursor_pos": len(code)}).ok()
        assert (done.content["found"], done.content["data"]) == (False, {})


def test_inspect_of_what_fails(client: Client) -> None:
    client.execute(
        "class Bad:\n    def __repr__(self): 1/0\n    def __getattr__(self, n): 1/0\nbad = Bad()"
    ).ok()
    client.request("inspect_request", {"code": "bad", "cursor_pos": 3})
    assert client.execute("6*7").ok().result == "42"


# --- is_complete ---


@pytest.mark.parametrize(
    ("code", "status", "indent"),
    [
        ("1", "complete", None),
        ("", "complete", None),
        ("x = )", "invalid", None),
        ("for i in range(3):", "incomplete", "    "),
        ("if True:\n    if True:", "incomplete", "        "),
        ("(1 +", "incomplete", ""),
        ("'''", "incomplete", ""),
        ("%%timeit", "incomplete", ""),
        ("await f()", "complete", None),
        ("x?", "complete", None),
    ],
)
def test_is_complete(client: Client, code: str, status: str, indent: str | None) -> None:
    content = client.request("is_complete_request", {"code": code}).content
    assert (content["status"], content.get("indent")) == (status, indent)


# --- history ---


def history(client: Client, **content: Any) -> list[Any]:
    defaults = {"raw": True, "output": False}
    reply = client.request("history_request", defaults | content).ok().content
    return list(reply["history"])


@pytest.fixture
def history_client(kernel: Callable[..., Any]) -> Iterator[Client]:
    """Of a kernel whose first cells are known."""
    client = kernel().client
    for code in ("1 + 1", "!echo 2", "x = 'needle'", "1 + 1"):
        client.execute(code).ok()
    yield client
    client.check()


def test_history(history_client: Client) -> None:
    client = history_client
    tail = history(client, hist_access_type="tail", n=3)
    assert [entry[1:] for entry in tail] == [[2, "!echo 2"], [3, "x = 'needle'"], [4, "1 + 1"]]
    session = tail[0][0]
    entries = history(client, hist_access_type="range", session=0, start=1, stop=3)
    assert [entry[1:] for entry in entries] == [[1, "1 + 1"], [2, "!echo 2"]]
    assert history(client, hist_access_type="range", session=session, start=3, stop=4)[0][2] == "x = 'needle'"
    assert len(history(client, hist_access_type="range", start=2)) == 3  # no stop: to the end
    (entry,) = history(client, hist_access_type="range", start=1, stop=2, output=True)
    assert entry[1:] == [1, ["1 + 1", "2"]]
    (entry,) = history(client, hist_access_type="range", start=2, stop=3, raw=False)
    assert entry[2] == "get_ipython().system('echo 2')"
    (entry,) = history(client, hist_access_type="search", pattern="*needle*")
    assert entry == [session, 3, "x = 'needle'"]
    assert len(history(client, hist_access_type="search", pattern="1 + 1")) == 2
    assert len(history(client, hist_access_type="search", pattern="1 + 1", unique=True)) == 1
    assert len(history(client, hist_access_type="search", pattern="*", n=2)) == 2
    assert history(client, hist_access_type="search", pattern="nowhere*") == []
    assert history(client, hist_access_type="no such type") == []


def test_history_of_a_subshell(client: Client, subshell: str) -> None:
    """S1: its cells are its own."""
    client.execute("'of the subshell'", subshell_id=subshell).ok()
    client.execute("'of main'").ok()
    content = {"hist_access_type": "range", "session": 0, "start": 1, "raw": True, "output": False}
    entries = client.request("history_request", content, subshell_id=subshell).ok().content["history"]
    assert [entry[1:] for entry in entries] == [[1, "'of the subshell'"]]
    (entry,) = history(client, hist_access_type="tail", n=1)
    assert entry[2] == "'of main'"


def test_history_of_an_earlier_kernel(kernel: Callable[..., Any]) -> None:
    """The database outlives the kernel, and is written at its end at the latest."""
    first = kernel()
    first.client.execute("'of the first kernel'").ok()
    first.shutdown()
    second = kernel(env={"IPYTHONDIR": str(first.folder / "ipython")})
    entries = history(second.client, hist_access_type="tail", n=5)
    assert "'of the first kernel'" in [entry[2] for entry in entries]
    entries = history(second.client, hist_access_type="range", session=-1)
    assert [entry[2] for entry in entries] == ["'of the first kernel'"]


def test_history_in_memory(kernel: Callable[..., Any]) -> None:
    """The argument that nbclient and others give."""
    client = kernel("--HistoryManager.hist_file=:memory:").client
    client.execute("1").ok()
    assert client.execute("get_ipython().history_manager.hist_file").result == "':memory:'"
    assert len(history(client, hist_access_type="tail", n=5)) == 2


# --- kernel_info, connect ---


def test_kernel_info(client: Client) -> None:
    for channel in ("shell", "control"):
        content = client.request("kernel_info_request", channel=channel).ok().content
        assert content["implementation"] == "ipython"
        assert content["language_info"]["name"] == "python"
        assert "kernel subshells" in content["supported_features"]
        assert content["protocol_version"] >= "5.5"


def test_connect(client: Client, shared_kernel: Any) -> None:
    content = client.request("connect_request").ok().content
    assert content["shell_port"] == shared_kernel.manager.shell_port


# --- content that is not what it should be ---

MALFORMED = [
    # channel, msg_type, content, what the error must name
    ("shell", "execute_request", {}, "code"),
    ("shell", "execute_request", {"code": 1}, "code"),
    ("shell", "execute_request", {"code": None}, "code"),
    ("shell", "execute_request", b'{"code": "\xff"}', ""),  # not UTF-8
    ("shell", "execute_request", {"code": "1", "silent": "yes"}, "silent"),
    ("shell", "execute_request", {"code": "1", "store_history": 3}, "store_history"),
    ("shell", "execute_request", {"code": "1", "user_expressions": ["x"]}, "user_expressions"),
    ("shell", "execute_request", {"code": "1", "user_expressions": {"x": 1}}, "user_expressions"),
    ("shell", "execute_request", {"code": "1", "allow_stdin": []}, "allow_stdin"),
    ("shell", "execute_request", {"code": "1", "stop_on_error": {}}, "stop_on_error"),
    ("shell", "complete_request", {"cursor_pos": 1}, "code"),
    ("shell", "complete_request", {"code": "x", "cursor_pos": "1"}, "cursor_pos"),
    ("shell", "complete_request", {"code": "x", "cursor_pos": 1.5}, "cursor_pos"),
    ("shell", "inspect_request", {"cursor_pos": 1}, "code"),
    ("shell", "inspect_request", {"code": "x", "detail_level": "high"}, "detail_level"),
    ("shell", "is_complete_request", {}, "code"),
    ("shell", "is_complete_request", {"code": ["x"]}, "code"),
    ("shell", "history_request", {}, "hist_access_type"),
    ("shell", "history_request", {"hist_access_type": "tail", "n": "x"}, "n"),
    ("shell", "history_request", {"hist_access_type": "range", "session": "x"}, "session"),
    ("shell", "comm_info_request", {"target_name": 1}, "target_name"),
    ("shell", "shutdown_request", {"restart": "x"}, "restart"),
    ("control", "shutdown_request", {"restart": "x"}, "restart"),
    ("control", "delete_subshell_request", {}, "subshell_id"),
    ("control", "delete_subshell_request", {"subshell_id": 1}, "subshell_id"),
    ("control", "delete_subshell_request", {"subshell_id": None}, "subshell_id"),
]
REQUESTS = sorted({(channel, msg_type) for channel, msg_type, _, _ in MALFORMED})
NO_OBJECT = [b"[]", b"null", b'"text"', b"1", b"{", b"", b"\xff", b"{}{}"]


@pytest.mark.parametrize(("channel", "msg_type", "content", "field"), MALFORMED)
def test_malformed(client: Client, channel: str, msg_type: str, content: Any, field: str) -> None:
    done = client.request(msg_type, content, channel=channel)
    assert done.status == "error"
    assert field in done.content["evalue"]
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.parametrize(("channel", "msg_type"), REQUESTS)
def test_content_that_is_no_object(client: Client, channel: str, msg_type: str) -> None:
    for content in NO_OBJECT:
        done = client.request(msg_type, content, channel=channel)
        assert done.status == "error", content
        assert done.content["evalue"], content
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close"])
def test_malformed_comm_message(client: Client, msg_type: str) -> None:
    """There is no reply to be had, but busy and idle; and the shell goes on."""
    for content in ({}, {"comm_id": 1}, {"comm_id": "x", "data": []}, {"comm_id": "x"}, *NO_OBJECT):
        client.request(msg_type, content)
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.parametrize("channel", ["shell", "control"])
@pytest.mark.parametrize("msg_type", ["no_such_request", "_request", "apply_request", "debug_evil_request"])
def test_unknown_request(client: Client, channel: str, msg_type: str) -> None:
    """An error of the request's own reply type: `check` looks at that."""
    done = client.request(msg_type, {"a": 1}, channel=channel)
    assert (done.status, bool(done.content["ename"])) == ("error", True)


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_unknown_message(client: Client, channel: str) -> None:
    """What is no request has no reply, but busy and idle."""
    client.request("no_such_message", {}, channel=channel)
    client.request("execute_reply", {"status": "ok"}, channel=channel)


def test_unknown_fields_are_ignored(client: Client) -> None:
    assert client.execute("6*7", of_the_future={"x": [1]}).ok().result == "42"


@pytest.mark.parametrize("metadata", [{"cellId": "c-1"}, {"cellId": 3}, {"deletedCells": ["a"], "x": None}])
def test_metadata(client: Client, metadata: dict[str, Any]) -> None:
    content = {"code": "6*7", "silent": False}
    done = client.request("execute_request", content, metadata=metadata).ok()
    assert done.result == "42"


def test_requests_of_one_kind_on_the_other_channel(client: Client) -> None:
    """Control runs no code; it says so."""
    assert client.request("execute_request", {"code": "1"}, channel="control").status == "error"
    assert client.request("comm_info_request", {}, channel="control").ok()
    assert client.request("create_subshell_request", {}, channel="shell").status == "error"


def test_unknown_subshell(client: Client) -> None:
    """L2."""
    for msg_type, content in (("execute_request", {"code": "1"}), ("kernel_info_request", {})):
        done = client.request(msg_type, content, subshell_id="no such subshell")
        assert (done.status, done.content["ename"]) == ("error", "UnknownSubshellError")
    client.request("comm_msg", {"comm_id": "x", "data": {}}, subshell_id="no such subshell")
    assert client.delete_subshell("no such subshell").status == "error"


def test_subshell_id_of_null(client: Client) -> None:
    """JupyterLab sends it with every message."""
    assert client.execute("6*7", subshell_id=None).ok().result == "42"
    assert client.request("kernel_info_request", channel="control", subshell_id=None).ok()
