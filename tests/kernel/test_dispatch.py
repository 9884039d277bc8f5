"""kernel/dispatch.py: busy, handle, reply, idle; once each, in order, whatever the handler does."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from fakes import STOP, FakeChannel, FakeOutbox, request
from fastshell._contract import Received
from fastshell.kernel.dispatch import Handler, Shell
from fastshell.kernel.request import Request
from fastshell.protocol.content import ExecuteRequest


def run(handlers: dict[str, Handler], *messages: Received, end: Received | None = None) -> FakeOutbox:
    """Feed a shell until `end`, by default a request behind the others; what it sent for the others."""
    channel, outbox = FakeChannel(), FakeOutbox()

    def ends(_: Request) -> dict[str, Any]:
        shell.stop()
        return {"status": "ok"}

    shell = Shell(channel, outbox, {**handlers, "end_request": ends})  # type: ignore[arg-type]
    for message in (*messages, end or request("end_request", "end")):
        channel.put(message)
    shell.run()
    assert channel.is_closed
    outbox.sent = [one for one in outbox.sent if one[1] != "end"]
    return outbox


def ok(_: Request) -> dict[str, Any]:
    return {"status": "ok"}


def test_one_request() -> None:
    outbox = run({"x_request": ok}, request("x_request", "1"))
    assert outbox.sent == [("busy", "1", None), ("x_reply", "1", {"status": "ok"}), ("idle", "1", None)]


def test_order_of_arrival() -> None:
    outbox = run({"x_request": ok}, *(request("x_request", str(i)) for i in range(200)))
    assert [p for what, p, _ in outbox.sent if what == "x_reply"] == [str(i) for i in range(200)]


def fails(error: BaseException) -> Handler:
    def handler(_: Request) -> dict[str, Any]:
        raise error

    return handler


async def _fails_later() -> dict[str, Any]:
    await asyncio.sleep(0)
    raise ValueError("later")


@pytest.mark.parametrize(
    ("handler", "ename"),
    [
        (fails(ValueError("bad")), "ValueError"),
        (fails(SystemExit(3)), "SystemExit"),
        (fails(KeyboardInterrupt()), "KeyboardInterrupt"),
        (lambda _: _fails_later(), "ValueError"),
        (lambda _: None, "NoReplyError"),
        (lambda r: {"status": "ok", "code": r.content(ExecuteRequest).code}, "ContentError"),
    ],
    ids=["error", "exit", "interrupt", "async", "no reply", "content"],
)
def test_a_reply_whatever_happens(handler: Handler, ename: str) -> None:
    outbox = run(
        {"x_request": handler, "y_request": ok}, request("x_request", "1"), request("y_request", "2")
    )
    (content,) = (content for what, parent, content in outbox.sent if (what, parent) == ("x_reply", "1"))
    assert (content["status"], content["ename"]) == ("error", ename)
    assert outbox.of("1") == ["busy", "x_reply", "idle"]
    assert outbox.of("2") == ["busy", "y_reply", "idle"]


def test_unknown_msg_types() -> None:
    outbox = run({}, request("x_request", "1"), request("comm_msg", "2"))
    assert outbox.of("1") == ["busy", "x_reply", "idle"]
    assert outbox.sent[1][2]["ename"] == "UnknownMessageTypeError"
    assert outbox.of("2") == ["busy", "idle"]


def test_while_a_handler_awaits_requests_queue_and_comms_do_not() -> None:
    """S5: an answer that a cell awaits comes as a comm message."""
    answered: list[asyncio.Future[str]] = []

    async def asks() -> dict[str, Any]:
        answered.append(asyncio.get_running_loop().create_future())
        return {"status": "ok", "answer": await answered[0]}

    def answers(_: Request) -> None:
        answered[0].set_result("yes")

    channel, outbox = FakeChannel(), FakeOutbox()
    handlers: dict[str, Handler] = {
        "x_request": lambda _: asks(),
        "comm_msg": answers,
        "y_request": ok,
        "end_request": lambda _: shell.stop() or {"status": "ok"},
    }
    shell = Shell(channel, outbox, handlers)  # type: ignore[arg-type]
    for message in (
        request("x_request", "1"),
        request("y_request", "2"),
        request("comm_msg", "3"),
        request("end_request", "4"),
    ):
        channel.put(message)
    shell.run()
    assert [(what, parent) for what, parent, _ in outbox.sent] == [
        ("busy", "1"),
        ("busy", "3"),
        ("idle", "3"),
        ("x_reply", "1"),
        ("idle", "1"),
        ("busy", "2"),
        ("y_reply", "2"),
        ("idle", "2"),
        ("busy", "4"),
        ("end_reply", "4"),
        ("idle", "4"),
    ]


def test_context_variables_persist_in_a_shell() -> None:
    """S8."""
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    seen: list[str] = []

    def sets(_: Request) -> dict[str, Any]:
        variable.set("set")
        return {"status": "ok"}

    async def reads() -> dict[str, Any]:
        seen.append(variable.get())
        variable.set("set by a task")
        return {"status": "ok"}

    def reads_again(_: Request) -> dict[str, Any]:
        seen.append(variable.get())
        shell.stop()
        return {"status": "ok"}

    channel, outbox = FakeChannel(), FakeOutbox()
    handlers: dict[str, Handler] = {
        "a_request": sets,
        "b_request": lambda _: reads(),
        "c_request": reads_again,
    }
    shell = Shell(channel, outbox, handlers)  # type: ignore[arg-type]
    for msg_id in "abc":
        channel.put(request(f"{msg_id}_request", msg_id))
    shell.run()
    assert seen == ["set", "set by a task"]
    assert variable.get() == "unset"


def test_abort_of_what_has_arrived() -> None:
    def fails_and_aborts(r: Request) -> dict[str, Any]:
        r.aborts_queue = True
        return {"status": "error"}

    outbox = run(
        {"execute_request": fails_and_aborts, "x_request": ok},
        request("execute_request", "1"),
        request("x_request", "2"),
        request("execute_request", "3"),
    )
    replies = {parent: content["status"] for what, parent, content in outbox.sent if what.endswith("_reply")}
    assert replies == {"1": "error", "2": "ok", "3": "aborted"}


def test_what_is_queued_when_a_shell_is_abandoned_is_aborted() -> None:
    channel, outbox = FakeChannel("sub"), FakeOutbox()

    def deletes(_: Request) -> dict[str, Any]:
        shell.abandon()
        return {"status": "ok"}

    shell = Shell(channel, outbox, {"a_request": deletes, "x_request": ok})  # type: ignore[arg-type]
    for message in (request("a_request", "1"), request("x_request", "2"), request("comm_msg", "3"), STOP):
        channel.put(message)
    shell.run()
    replies = {parent: content["status"] for what, parent, content in outbox.sent if what.endswith("_reply")}
    assert replies == {"1": "ok", "2": "aborted"}
    assert outbox.of("3") == ["busy", "idle"]


def test_stop_while_a_handler_awaits() -> None:
    """The handler is cancelled and answered; what waits behind it is aborted."""

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {"status": "ok"}

    outbox = run(
        {"x_request": lambda _: never()}, request("x_request", "1"), request("x_request", "2"), end=STOP
    )
    assert outbox.of("1") == ["busy", "x_reply", "idle"]
    assert outbox.of("2") == ["busy", "x_reply", "idle"]
    assert [content["status"] for what, _, content in outbox.sent if what == "x_reply"] == [
        "error",
        "aborted",
    ]


def test_interrupt_of_a_handler_that_awaits() -> None:
    """It gets KeyboardInterrupt at its await, not CancelledError; the next is not touched."""
    raised: list[BaseException] = []

    async def waits() -> dict[str, Any]:
        asyncio.get_running_loop().call_soon(shell.interrupt)
        try:
            await asyncio.sleep(60)
        except BaseException as error:
            raised.append(error)
        await asyncio.sleep(0)
        return {"status": "ok"}

    def ends(_: Request) -> dict[str, Any]:
        shell.stop()
        return {"status": "ok"}

    channel, outbox = FakeChannel(), FakeOutbox()
    shell = Shell(channel, outbox, {"x_request": lambda _: waits(), "y_request": ends})  # type: ignore[arg-type]
    channel.put(request("x_request", "1"))
    channel.put(request("y_request", "2"))
    shell.run()
    assert [type(error) for error in raised] == [KeyboardInterrupt]
    assert outbox.of("2") == ["busy", "y_reply", "idle"]
