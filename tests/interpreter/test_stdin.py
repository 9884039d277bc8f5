"""input() and getpass() ask the front end whose cell it is. Stories S2, W3."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from client import Client

posix = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT can be sent to a process there")


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
    assert client.answer(msg_id, "").content == {"prompt": "", "password": True}
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


@posix
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


# --- as ipykernel ---

AS_REFERENCE = [
    ("input('text')", "answer"),
    ("input(3)", "answer"),
    ("input(prompt='by name')", "answer"),
    ("input()", "\x04"),
    ("import getpass; getpass.getpass()", "answer"),
    ("import getpass; getpass.getpass('text')", "\x04"),
    ("import getpass; getpass.getpass('text', stream=None)", "answer"),
    ("get_ipython().kernel.raw_input('text')", "answer"),
    ("get_ipython().kernel.getpass('text')", "answer"),
    ("import asyncio; await asyncio.to_thread(input, 'text')", "answer"),
    ("input('ü€😀')", "ü€😀"),
    ("int(input())", "no number"),
]


@pytest.mark.parametrize(("code", "answer"), AS_REFERENCE)
def test_answer(client: Client, reference: Client, code: str, answer: str) -> None:
    """Question, result and failure are those of ipykernel; \\x04 is how a front end says end of file."""
    seen = []
    for one in (client, reference):
        msg_id = one.start(code)
        question = one.answer(msg_id, answer)
        done = one.finish(msg_id)
        content = done.content
        seen.append(
            (question.content, content["status"], content.get("ename"), content.get("evalue"), done.result)
        )
    assert seen[0] == seen[1]


@pytest.mark.parametrize("code", ["input()", "import getpass; getpass.getpass()"])
def test_refusal(client: Client, reference: Client, code: str) -> None:
    """Where the front end takes no questions the exception is IPython's, for those who catch it."""
    caught = f"""
from IPython.core.error import StdinNotImplementedError
try: {code.split(";")[-1].strip()}
except StdinNotImplementedError as error: print('caught', error)
"""
    seen = []
    for one in (client, reference):
        one.execute("import getpass").ok()
        content = one.execute(code, allow_stdin=False).content
        text = one.execute(caught, allow_stdin=False).ok().text()
        seen.append((content["ename"], content["evalue"], text))
    assert seen[0] == seen[1]
    assert seen[0][2].startswith("caught")


def test_getpass_warns_of_a_stream(client: Client, reference: Client) -> None:
    for one in (client, reference):
        msg_id = one.start("import getpass, sys; getpass.getpass('text', stream=sys.stderr)")
        one.answer(msg_id, "answer")
        assert "UserWarning: The `stream` parameter" in one.finish(msg_id).ok().text("stderr")


@posix
@pytest.mark.parametrize("code", ["input()", "import getpass; getpass.getpass()"])
def test_interrupt(client: Client, reference: Client, code: str) -> None:
    seen = []
    for one in (client, reference):
        msg_id = one.start(code)
        one.wait_question(msg_id)
        one.interrupt()
        content = one.finish(msg_id).content
        seen.append((content["ename"], content["evalue"]))
    assert seen[0] == ("KeyboardInterrupt", "Interrupted by user")
    assert (
        seen[1][0] == "KeyboardInterrupt"
    )  # the text is the same, unless it hit while the question was sent


# --- beside other things ---


@posix
def test_interrupted_question_of_an_async_cell(client: Client) -> None:
    msg_id = client.start("import asyncio; await asyncio.sleep(0); input()")
    client.wait_question(msg_id)
    client.interrupt()
    assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"
    assert client.execute("6*7").ok().result == "42"


@posix
def test_question_that_is_caught_and_asked_again(client: Client) -> None:
    """The late answer to the first is not taken for that of the second."""
    msg_id = client.start("try: input('first')\nexcept KeyboardInterrupt: print(input('second'))")
    first = client.wait_question(msg_id)
    client.interrupt()
    client.wait(lambda: len(client.of_parent(msg_id, "input_request")) == 2, "second question")
    second = client.of_parent(msg_id, "input_request")[1]
    client.send("input_reply", {"value": "stale"}, channel="stdin", parent=first.header)
    client.send("input_reply", {"value": "fresh"}, channel="stdin", parent=second.header)
    assert client.finish(msg_id).ok().text() == "fresh\n"


def test_answer_that_nobody_asked_for(client: Client) -> None:
    client.send("input_reply", {"value": "nobody asked"}, channel="stdin")
    msg_id = client.start("input()")
    client.answer(msg_id, "asked")
    assert client.finish(msg_id).ok().result == "'asked'"


def test_questions_of_many_threads(client: Client) -> None:
    """Each thread gets the answer to its own question, in whatever order they come."""
    code = """
import threading
answers = {}
def ask(name): answers[name] = input(name)
threads = [threading.Thread(target=ask, args=[str(n)]) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
answers == {str(n): f'answer to {n}' for n in range(8)}
"""
    msg_id = client.start(code)
    client.wait(lambda: len(client.of_parent(msg_id, "input_request")) == 8, "eight questions")
    for question in reversed(client.of_parent(msg_id, "input_request")):
        value = f"answer to {question.content['prompt']}"
        client.send("input_reply", {"value": value}, channel="stdin", parent=question.header)
    assert client.finish(msg_id).ok().result == "True"


def test_thread_that_asks_after_its_cell(client: Client) -> None:
    """It asks the front end of its cell, while later cells run."""
    client.execute("import threading; go = threading.Event(); answers = []").ok()
    code = "t = threading.Thread(target=lambda: (go.wait(), answers.append(input('late')))); t.start()"
    msg_id = client.start(code)
    client.finish(msg_id).ok()
    client.execute("go.set()").ok()
    client.answer(msg_id, "heard")
    assert client.execute("t.join(); answers").ok().result == "['heard']"


def test_comm_that_arrives_while_an_async_cell_asks(client: Client) -> None:
    """S5: what comes over the comm is what the cell awaits next; it stayed queued behind the cell."""
    client.execute("import asyncio, comm; arrived = asyncio.Event()").ok()
    client.execute("comm.get_comm_manager().register_target('ask', lambda c, m: arrived.set())").ok()
    msg_id = client.start("await asyncio.sleep(0); a = input(); await arrived.wait(); a")
    client.wait_question(msg_id)
    opened = client.send("comm_open", {"comm_id": "ask-1", "target_name": "ask", "data": {}})
    later = client.start("'later'")
    client.request("create_subshell_request", channel="control")  # both have arrived by now
    client.answer(msg_id, "x")
    assert client.finish(msg_id).ok().result == "'x'"
    client.finish(opened)
    assert client.finish(later).ok().result == "'later'"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_child_gets_no_answer(client: Client) -> None:
    """The front end is its parent's: waiting for it would be for ever."""
    code = """
import os
pid = os.fork()
if pid == 0:
    try: input()
    except EOFError: os._exit(7)
    os._exit(1)
os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
    assert client.execute(code).ok().result == "7"
