"""`get_ipython().kernel`: ipykernel's names do what they do there, compared in the same run."""

from __future__ import annotations

from typing import Any

import pytest

from client import Client, Done

KERNEL = "kernel = get_ipython().kernel\n"


def told(done: Done) -> list[tuple[str, dict[str, Any], dict[str, Any], list[bytes]]]:
    """What the cell published, without what differs from run to run."""
    return [
        (m.msg_type, m.content, m.metadata, [bytes(buffer) for buffer in m.buffers])
        for m in done.of("stream", "display_data", "error", "execute_result", "own_type")
    ]


SENDING = {
    "send_response": 'kernel.send_response(kernel.iopub_socket, "stream", {"name": "stdout", "text": "t"})',
    "metadata and buffers": "kernel.send_response(kernel.iopub_socket, 'own_type', {'a': [1]}, "
    "metadata={'m': 1}, buffers=[b'1', memoryview(b'22')])",
    "session.send": 'kernel.session.send(kernel.iopub_socket, "own_type", {"b": 2}, kernel.get_parent(), '
    'ident=kernel._topic("own_type"))',
    "parent as a header": 'kernel.session.send(kernel.iopub_socket, "own_type", {"b": 2}, '
    'kernel.get_parent()["header"])',
    "a message": 'kernel.session.send(kernel.iopub_socket, kernel.session.msg("own_type", {"c": 3}, '
    'parent=kernel.get_parent(), metadata={"k": 1}))',
    "positional": "kernel.session.send(kernel.iopub_socket, 'own_type', {}, kernel.get_parent(), b't', "
    "[b'x'], False, None, {'m': 2})",
}


@pytest.mark.parametrize("code", SENDING.values(), ids=SENDING)
def test_message_of_a_notebook(client: Client, reference: Client, code: str) -> None:
    ours = client.execute(KERNEL + code + ";").ok()
    assert told(ours) == told(reference.execute(KERNEL + code + ";").ok())
    assert told(ours)


def test_topic_is_the_given_one(client: Client, reference: Client) -> None:
    for one in (client, reference):
        done = one.execute(
            KERNEL + "kernel.session.send(kernel.iopub_socket, 'own_type', {}, kernel.get_parent(), b'mine');"
        )
        assert done.ok().of("own_type")[0].identities == [b"mine"]


def test_without_a_parent_it_belongs_to_nobody(client: Client, reference: Client) -> None:
    for one in (client, reference):
        one.execute(KERNEL + "kernel.session.send(kernel.iopub_socket, 'own_type', {'nobody': 1});").ok()
        one.wait(lambda: one.of_parent(None, "own_type"), "own_type")  # noqa: B023
        assert one.of_parent(None, "own_type")[-1].content == {"nobody": 1}


FACTS = {
    "parent's keys": "sorted(kernel.get_parent())",
    "parent's type": "kernel.get_parent()['header']['msg_type'], kernel.get_parent()['msg_type']",
    "parent's code": "kernel.get_parent()['content']['code'].splitlines()[0]",
    "deprecated parent": "kernel._parent_header == kernel.get_parent()",
    "shell's parent": "get_ipython().parent_header['msg_id'] == kernel.get_parent()['msg_id']",
    "identities": "kernel._parent_ident['shell'] == [kernel.get_parent()['header']['session'].encode()]",
    "session's message": "sorted(kernel.session.msg('t', {'a': 1}))",
    "session's header": "sorted(kernel.session.msg_header('t'))",
    "session's name": "kernel.session.msg_header('t')['session'] == kernel.session.session",
    "pack": "kernel.session.unpack(kernel.session.pack({'a': [1, None, 'é']}))",
    "shell": "kernel.shell is get_ipython()",
    "back": "get_ipython().kernel is kernel",
    "manager": "kernel.comm_manager is __import__('comm').get_comm_manager()",
    "instance": "type(kernel).instance() is kernel, type(kernel).initialized()",
    "shell handlers": "set(kernel.shell_handlers) >= {'execute_request', 'comm_msg', 'history_request'}",
    "control handlers": "set(kernel.control_handlers) >= {'interrupt_request', 'shutdown_request'}",
    "a handler": "kernel.shell_handlers['execute_request'] == kernel.execute_request",
    "a handler's kind": "__import__('inspect').iscoroutinefunction(kernel.shell_handlers['execute_request'])",
    "no handler": "kernel.shell_handlers.get('no_such_request')",
    "log": "isinstance(kernel.log, __import__('logging').Logger)",
    "no aborting": "kernel._aborting, kernel.int_id, type(kernel.ident)",
    "count": "kernel.execution_count == get_ipython().execution_count",
    "stdin": "kernel._allow_stdin",
}


@pytest.mark.parametrize("fact", FACTS.values(), ids=FACTS)
def test_fact(client: Client, reference: Client, fact: str) -> None:
    ours = client.execute(KERNEL + fact).ok()
    assert ours.result == reference.execute(KERNEL + fact).ok().result


# --- handlers ---

OWN_HANDLER = (
    KERNEL
    + """
def handle(stream, ident, message):
    kernel.session.send(stream, "own_reply", {"status": "ok", "got": message["content"]}, message, ident)

async def handle_later(stream, ident, message):
    import asyncio
    await asyncio.sleep(0)
    print("later")
    handle(stream, ident, message)

kernel.shell_handlers["own_request"] = handle
kernel.shell_handlers["later_request"] = handle_later
kernel.control_handlers["own_request"] = handle
"""
)


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_own_request(client: Client, reference: Client, channel: str) -> None:
    for one in (client, reference):
        one.execute(OWN_HANDLER).ok()
        reply = one.reply(one.send("own_request", {"a": 1}, channel=channel))
        assert (reply.msg_type, reply.content) == ("own_reply", {"status": "ok", "got": {"a": 1}})


def test_own_request_that_is_answered_later(client: Client) -> None:
    client.execute(OWN_HANDLER).ok()
    msg_id = client.send("later_request", {})
    client.unchecked.add(msg_id)  # its reply is called own_reply
    assert client.reply(msg_id).msg_type == "own_reply"
    assert client.iopub(msg_id)[-1].content == {"execution_state": "idle"}
    assert client.text(msg_id) == "later\n"


WRAPPED = (
    KERNEL
    + """
original = kernel.shell_handlers["execute_request"]
seen = []

async def wrapper(stream, ident, message):
    seen.append(message["content"]["code"])
    await original(stream, ident, message)

kernel.shell_handlers["execute_request"] = wrapper
"""
)


def test_wrapped_handler(client: Client, reference: Client) -> None:
    """As extensions watch cells; the original answers, in full."""
    for one in (client, reference):
        one.execute(WRAPPED).ok()
        assert one.execute("1 + 1").ok().result == "2"
        assert one.execute("1 / 0").error["ename"] == "ZeroDivisionError"
        assert (
            one.execute("import asyncio; await asyncio.sleep(0); print('awaited')").ok().text() == "awaited\n"
        )
        restore = one.execute("kernel.shell_handlers['execute_request'] = original; len(seen)").ok()
        assert restore.result == "4"
        assert one.execute("len(seen)").ok().result == "4"


def test_errors_abort_the_queue_behind_a_wrapped_handler(client: Client) -> None:
    client.execute(WRAPPED).ok()
    failing = client.start("import time; time.sleep(0.05); 1 / 0")
    behind = client.start("1")
    assert client.finish(failing).status == "error"
    assert client.finish(behind).status == "aborted"
    client.execute("kernel.shell_handlers['execute_request'] = original").ok()


def test_handler_that_fails(client: Client) -> None:
    client.execute(KERNEL + "kernel.shell_handlers['own_request'] = lambda *_: 1 / 0").ok()
    done = client.request("own_request", {})
    assert (done.status, done.content["ename"]) == ("error", "ZeroDivisionError")
    client.execute("del kernel.shell_handlers['own_request']").ok()
    assert client.request("own_request", {}).status == "error"


def test_kept_request_is_answered_after_its_handler(client: Client) -> None:
    """As jupyter-ui-poll of old: the handler keeps the request, and replays it after the cell."""
    client.execute(
        KERNEL
        + """
kept = []
original = kernel.shell_handlers["inspect_request"]
kernel.shell_handlers["inspect_request"] = lambda *request: kept.append(request)
"""
    ).ok()
    msg_id = client.send("inspect_request", {"code": "kept", "cursor_pos": 4})
    client.iopub(msg_id)
    client.execute(
        "kernel.shell_handlers['inspect_request'] = original\n"
        "for stream, ident, message in kept:\n"
        "    kernel.set_parent(ident, message)\n"
        "    await kernel.inspect_request(stream, ident, message)"
    ).ok()
    assert client.reply(msg_id).content["found"] is True


def test_hooks(client: Client, reference: Client) -> None:
    for one in (client, reference):
        one.execute(
            KERNEL
            + "calls = []\n"
            + "before, after = kernel.pre_handler_hook, kernel.post_handler_hook\n"
            + "kernel.pre_handler_hook = lambda: calls.append('before')\n"
            + "kernel.post_handler_hook = lambda: calls.append('after')"
        ).ok()
        one.request("comm_info_request", {}).ok()
        one.execute("await __import__('asyncio').sleep(0)").ok()
        restored = one.execute(
            "kernel.pre_handler_hook, kernel.post_handler_hook = before, after; calls"
        ).ok()
        expected = ["before", "after", "before", "after", "before"]
        assert restored.result in (str(expected), str(["after", *expected]))


# --- whose output it is ---


def test_set_parent_moves_the_output(client: Client) -> None:
    """Output alone: reply and idle stay the cell's own (ipykernel gives the idle to the other cell too)."""
    first = client.start(KERNEL + "kept = kernel.get_parent(), kernel._parent_ident['shell']")
    client.finish(first).ok()
    assert client.execute("kernel.set_parent(kept[1], kept[0]); print('for the first')").ok().text() == ""
    client.wait_text(first, "for the first")
    assert client.execute("print('own')").ok().text() == "own\n"


def test_set_parent_takes_what_ipykernels_takes(client: Client, reference: Client) -> None:
    code = KERNEL + "kernel.set_parent(kernel._parent_ident, kernel.get_parent(), 'shell'); print('own')"
    for one in (client, reference):
        assert one.execute(code).ok().text() == "own\n"


# --- loops ---

IN_LOOP = (
    KERNEL
    + """
import threading, asyncio
loop = kernel.io_loop
done = asyncio.get_running_loop().create_future()
calls = []

async def coroutine(name):
    calls.append(name)
    await asyncio.sleep(0)
    done.set_result(threading.current_thread() is threading.main_thread())

def from_a_thread():
    loop.add_callback(calls.append, "callback")
    loop.add_callback(loop.call_later, 0.001, coroutine, "coroutine")
    removed.append(loop.call_later(0.2, calls.append, "removed"))

removed = []
threading.Thread(target=from_a_thread).start()
while not removed:
    await asyncio.sleep(0.0005)
loop.remove_timeout(removed[0])
(await done, calls)
"""
)


@pytest.mark.parametrize("prefix", ["", "import tornado.ioloop\n"], ids=["without tornado", "with tornado"])
def test_io_loop(client: Client, prefix: str) -> None:
    assert client.execute(prefix + IN_LOOP).ok().result == "(True, ['callback', 'coroutine'])"


def test_io_loop_is_tornados_once_that_is_there(client: Client, reference: Client) -> None:
    code = KERNEL + "import tornado.ioloop\nkernel.io_loop is tornado.ioloop.IOLoop.current()"
    for one in (client, reference):
        assert one.execute(code).ok().result == "True"


def test_namespace(client: Client) -> None:
    """ipykernel's user_ns is a dict of its own, which is of no use."""
    assert client.execute(KERNEL + "kernel.user_ns is get_ipython().user_ns").ok().result == "True"
