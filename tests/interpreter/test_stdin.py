"""input() and getpass() ask the front end whose cell it is. Stories S2, W3."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from client import Client


@pytest.fixture
def subshell(client: Client) -> Iterator[str]:
    """The id of a subshell."""
    subshell_id = client.create_subshell()
    yield subshell_id
    client.delete_subshell(subshell_id).ok()


def test_input(client: Client) -> None:
    msg_id = client.start("input('question: ')")
    question = client.answer(msg_id, "an änswer")
    assert question.content == {"prompt": "question: ", "password": False}
    assert client.finish(msg_id).ok().result == "'an änswer'"


def test_several_questions(client: Client) -> None:
    msg_id = client.start("' '.join(input(i) for i in range(20))")
    for number in range(20):
        assert client.answer(msg_id, f"a{number}").content["prompt"] == str(number)
    assert client.finish(msg_id).ok().result == repr(" ".join(f"a{number}" for number in range(20)))


def test_getpass(client: Client) -> None:
    msg_id = client.start("import getpass; getpass.getpass('secret: ')")
    question = client.answer(msg_id, "word")
    assert question.content == {"prompt": "secret: ", "password": True}
    assert client.finish(msg_id).ok().result == "'word'"


def test_getpass_without_a_prompt(client: Client) -> None:
    msg_id = client.start("import getpass; getpass.getpass()")
    assert client.answer(msg_id, "").content == {"prompt": "Password: ", "password": True}
    assert client.finish(msg_id).ok().result == "''"


def test_text_before_the_question(client: Client) -> None:
    """What was printed without a newline is seen before the question is asked."""
    msg_id = client.start("print('before', end=''); input()")
    client.wait_text(msg_id, "before")
    client.answer(msg_id, "")
    client.finish(msg_id).ok()


@pytest.mark.parametrize("code", ["input()", "import getpass; getpass.getpass()", "breakpoint()"])
def test_front_end_without_stdin(client: Client, code: str) -> None:
    done = client.execute(code, allow_stdin=False)
    assert done.content["ename"] == "StdinNotImplementedError"
    assert client.of_parent(client.start("1"), "input_request") == []


def test_front_end_without_stdin_is_asked_for_each_cell(client: Client) -> None:
    """allow_stdin of one cell is not that of the next."""
    assert client.execute("input()", allow_stdin=False).status == "error"
    msg_id = client.start("input()")
    client.answer(msg_id, "yes")
    assert client.finish(msg_id).ok().result == "'yes'"


def test_question_of_a_subshell(client: Client, subshell: str) -> None:
    msg_id = client.start("input('sub')", subshell_id=subshell)
    client.answer(msg_id, "to the subshell")
    assert client.finish(msg_id).ok().result == "'to the subshell'"


def test_two_questions_at_once(client: Client, subshell: str) -> None:
    """S2: both wait, and are answered in the other order."""
    first = client.start("input('main')")
    second = client.start("input('sub')", subshell_id=subshell)
    client.wait_question(first)
    client.wait_question(second)
    client.answer(second, "of the subshell")
    client.answer(first, "of main")
    assert client.finish(first).ok().result == "'of main'"
    assert client.finish(second).ok().result == "'of the subshell'"


def test_question_of_a_thread(client: Client) -> None:
    code = """
import threading
out = []
t = threading.Thread(target=lambda: out.append(input('thread'))); t.start(); t.join()
out
"""
    msg_id = client.start(code)
    client.answer(msg_id, "yes")
    assert client.finish(msg_id).ok().result == "['yes']"


def test_question_of_an_async_cell(client: Client) -> None:
    """The next request was never read: the question had consumed the edge of the channel's descriptor."""
    msg_id = client.start("import asyncio; await asyncio.sleep(0); input('async')")
    client.answer(msg_id, "yes")
    assert client.finish(msg_id).ok().result == "'yes'"


def test_requests_that_arrive_while_a_question_waits(client: Client) -> None:
    """They are handled after the cell, in order."""
    msg_id = client.start("input()")
    client.wait_question(msg_id)
    later = [client.start("'later'"), client.start("'last'")]
    asked = client.send("complete_request", {"code": "zi", "cursor_pos": 2})
    client.answer(msg_id, "x")
    client.finish(msg_id).ok()
    assert [client.finish(one).ok().result for one in later] == ["'later'", "'last'"]
    assert client.finish(asked).ok().content["matches"] == ["zip"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT can be sent to a process there")
def test_interrupted_question(client: Client) -> None:
    msg_id = client.start("input()")
    question = client.wait_question(msg_id)
    client.interrupt()
    assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"
    client.send("input_reply", {"value": "too late"}, channel="stdin", parent=question.header)
    msg_id = client.start("input()")
    client.answer(msg_id, "in time")
    assert client.finish(msg_id).ok().result == "'in time'"


def test_reply_without_a_parent(client: Client) -> None:
    """There are front ends that send none."""
    msg_id = client.start("input()")
    client.wait_question(msg_id)
    client.send("input_reply", {"value": "anonymous"}, channel="stdin")
    assert client.finish(msg_id).ok().result == "'anonymous'"


def test_malformed_reply(client: Client) -> None:
    """The cell ends with an error that names the field, or waits on for a good answer."""
    msg_id = client.start("input()")
    question = client.wait_question(msg_id)
    client.send("input_reply", {"value": 3}, channel="stdin", parent=question.header)
    client.send("input_reply", {"value": "good"}, channel="stdin", parent=question.header)
    done = client.finish(msg_id)
    assert done.status == "ok" or "value" in done.content["evalue"]
    assert client.execute("6*7").ok().result == "42"


def test_debugger(client: Client) -> None:
    """pdb asks by input() and prints its prompt and text."""
    msg_id = client.start("x = 'of the cell'\nbreakpoint()\ny = 2")
    client.answer(msg_id, "p x")
    client.answer(msg_id, "c")
    assert "of the cell" in client.finish(msg_id).ok().text()


def test_post_mortem(client: Client) -> None:
    client.execute("def f(): local = 'of f'; 1/0\nf()")
    msg_id = client.start("%debug")
    client.answer(msg_id, "p local")
    client.answer(msg_id, "q")
    assert "of f" in client.finish(msg_id).ok().text()
