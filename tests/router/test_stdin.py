"""Who gets the answer to an input_request: S2, answers were swapped or lost."""

from __future__ import annotations

import json

import pytest

from fastshell._contract import Kind
from router.conftest import recv


@pytest.fixture
def asking(running, client):
    """Ask on a channel, in the name of `client`; return the msg_id and the input_request as it came."""

    def ask(channel):
        msg_id = running.outbox.ask(channel, b'{"msg_id":"p"}', b'{"prompt":"?"}', [client.session.encode()])
        question = client.recv("stdin")
        assert question.header["msg_id"].encode() == msg_id
        return msg_id, question.header

    client.socket("stdin")
    client.send("input_reply", channel="stdin")  # the stdin ROUTER has to know the client first
    running.wait_dropped(input_reply=1)
    return ask


@pytest.fixture
def sub(running):
    return running.open("sub")


def answer(client, value, **options):
    return client.send("input_reply", {"value": value}, channel="stdin", **options)


def value_of(received):
    assert received.kind == Kind.INPUT_REPLY
    assert received.msg_type == "input_reply"
    return json.loads(received.content)["value"]


def test_a_question_and_its_answer(running, client):
    client.socket("stdin")
    client.send("input_reply", channel="stdin")
    running.wait_dropped(input_reply=1)
    msg_id = running.outbox.ask("main", b'{"msg_id":"p"}', b'{"prompt":"?"}', [client.session.encode()])
    question = client.recv("stdin")
    assert question.msg_type == "input_request"
    assert question.header["msg_id"].encode() == msg_id
    assert question.parent_header == {"msg_id": "p"}
    assert question.content == {"prompt": "?"}
    header = answer(client, "x", parent=question.header)
    received = recv(running.main)
    assert value_of(received) == "x"
    assert json.loads(received.header) == header
    assert json.loads(received.parent_header) == question.header
    assert running.router.statistics().relayed["stdin"] == 1


def test_by_parent_header(running, client, asking, sub):
    """As JupyterLab answers: the input_request is the parent, there is no subshell_id."""
    _, of_main = asking("main")
    _, of_sub = asking("sub")
    answer(client, "for sub", parent=of_sub)
    answer(client, "for main", parent=of_main)
    assert value_of(recv(sub)) == "for sub"
    assert value_of(recv(running.main)) == "for main"


def test_parent_header_is_stronger_than_subshell_id(running, client, asking, sub):
    _, of_main = asking("main")
    asking("sub")
    answer(client, "for main", parent=of_main, subshell_id="sub")
    assert value_of(recv(running.main)) == "for main"
    assert sub.recv_nowait() is None


@pytest.mark.parametrize("members", [{}, {"subshell_id": None}, {"subshell_id": "sub"}])
def test_by_subshell_id(running, client, asking, sub, members):
    """Absent and null mean main."""
    asking("main")
    asking("sub")
    answer(client, "x", **members)
    assert value_of(recv(sub if members.get("subshell_id") else running.main)) == "x"
    assert (running.main if members.get("subshell_id") else sub).recv_nowait() is None


@pytest.mark.parametrize("members", [{}, {"subshell_id": None}, {"subshell_id": "other"}, {"subshell_id": 1}])
def test_by_being_the_only_one(running, client, asking, sub, members):
    asking("sub")
    answer(client, "x", **members)
    assert value_of(recv(sub)) == "x"


def test_a_parent_that_is_not_ours_decides_nothing(running, client, asking, sub):
    """Some clients give the execute_request as parent."""
    asking("sub")
    answer(client, "x", parent={"msg_id": "that of an execute_request"})
    assert value_of(recv(sub)) == "x"


def test_one_answer_is_enough(running, client, asking):
    _, question = asking("main")
    answer(client, "1", parent=question)
    answer(client, "2", parent=question)
    answer(client, "3")
    assert value_of(recv(running.main)) == "1"
    running.wait_dropped(input_reply=3)
    assert running.main.recv_nowait() is None


def test_an_answer_that_nobody_waits_for(running, client, asking, sub):
    """Two wait, and neither is meant."""
    asking("sub")
    asking("sub")
    answer(client, "x", subshell_id="sub")
    running.wait_dropped(input_reply=2)
    assert sub.recv_nowait() is None


def test_a_late_answer_is_not_for_the_next_question(running, client, asking, sub):
    msg_id, question = asking("main")
    running.outbox.forget(msg_id)
    _, next_question = asking("sub")
    answer(client, "late", parent=question)
    running.wait_dropped(input_reply=2)
    answer(client, "x", parent=next_question)
    assert value_of(recv(sub)) == "x"
    assert running.main.recv_nowait() is None


def test_forget_what_was_never_asked(running, client, asking):
    running.outbox.forget(b"unknown")
    asking("main")
    answer(client, "x")
    assert value_of(recv(running.main)) == "x"


def test_the_asker_is_gone(running, client, asking, sub):
    """W3: the subshell whose input() waited was deleted."""
    _, question = asking("sub")
    assert running.router.close_channel("sub")
    answer(client, "x", parent=question)
    running.wait_dropped(input_reply=2)
    assert recv(sub).kind == Kind.STOP
    asking("main")
    answer(client, "y")
    assert value_of(recv(running.main)) == "y"


def test_other_messages_on_stdin_are_no_answers(running, client, asking):
    _, question = asking("main")
    client.send("execute_request", channel="stdin", parent=question)
    running.wait_dropped(input_reply=2)
    answer(client, "x", parent=question)
    assert value_of(recv(running.main)) == "x"


def test_buffers_of_an_answer(running, client, asking):
    asking("main")
    answer(client, "x", buffers=[b"b"])
    assert list(recv(running.main).buffers) == [b"b"]
