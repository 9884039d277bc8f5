"""input() and getpass(): ask the front end, wait for the one answer.

Thread: any. The thread of a shell waits on its own channel and keeps what else arrives for later;
any other thread opens a channel for the question.
"""

from __future__ import annotations

import itertools
import os
import selectors
from typing import TYPE_CHECKING

import msgspec

from fastshell._contract import Kind, Received
from fastshell.kernel import current
from fastshell.protocol.content import InputReply, decode, encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Channel, Outbox, Router
    from fastshell.kernel.request import Request


#: The answer by which a front end says that there is no more to read.
END_OF_FILE = "\x04"

#: How long a wait lasts before it looks again, in seconds. A signal that comes between the look at the
#: channel and the wait for it does not end the wait; and on Windows no signal does.
LOOK_S = 0.25


class StdinNotImplementedError(NotImplementedError):
    """The front end that asked for this code takes no questions."""


class Questions:
    """Asks on behalf of the calling code."""

    #: Raised where the front end takes no questions; a language may have an exception of its own for it.
    refusal: type[Exception] = StdinNotImplementedError

    def __init__(self, router: Router) -> None:
        self._router = router
        self._outbox: Outbox = router.outbox
        self._pid = os.getpid()
        self._names = itertools.count()

    def ask(self, prompt: str, *, password: bool = False) -> str:
        """Send input_request, return the value of its input_reply.

        Raises `refusal` where allow_stdin is false, KeyboardInterrupt if interrupted, and EOFError if
        that is the answer, if the shell ends meanwhile, and in a forked child: its front end is its parent's.
        """
        if os.getpid() != self._pid:
            raise EOFError("no front end answers a child process")
        request = current.current_request()
        if request is None or not request.allow_stdin:
            name = "getpass" if password else "raw_input"
            raise self.refusal(f"{name} was called, but this frontend does not support input requests.")
        try:
            answer = self._ask(request, prompt, password)
        except KeyboardInterrupt:  # where in the waiting it hit is of no interest
            raise KeyboardInterrupt("Interrupted by user") from None
        if answer == END_OF_FILE:
            raise EOFError
        return answer

    def _ask(self, request: Request, prompt: str, password: bool) -> str:
        """On the channel of the calling thread's shell, or on one that is opened for the question."""
        shell = current.current_shell()
        if shell is not None and current.is_shell_thread(shell):
            try:
                return self._ask_on(shell.channel, request, prompt, password)
            finally:
                shell.read_on()
        channel = self._router.open_channel(f"question-{next(self._names)}")
        try:
            return self._ask_on(channel, request, prompt, password)
        finally:
            self._router.close_channel(channel.name)
            channel.close()

    def _ask_on(self, channel: Channel, request: Request, prompt: str, password: bool) -> str:
        msg_id = self._outbox.ask(
            channel.name,
            request.header,
            encode({"prompt": prompt, "password": password}),
            request.message.identities,
        )
        try:
            return self._wait_answer(channel, request, msg_id)
        finally:
            self._outbox.forget(msg_id)

    def _wait_answer(self, channel: Channel, request: Request, msg_id: bytes) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(channel.fd, selectors.EVENT_READ)
            while True:
                message = channel.recv_nowait()
                if message is None:
                    selector.select(LOOK_S)
                elif message.kind is Kind.INPUT_REPLY:
                    if _answers(message, msg_id):
                        return decode(message.content, InputReply).value
                else:
                    request.shell.postpone(message)
                    if message.kind is Kind.STOP:
                        raise EOFError("the kernel ends")


def _answers(message: Received, msg_id: bytes) -> bool:
    """Whether an input_reply is for this question: its parent says so, or it names none."""
    try:
        parent = msgspec.json.decode(message.parent_header)
    except msgspec.MsgspecError:
        return True
    asked = parent.get("msg_id") if isinstance(parent, dict) else None
    return asked is None or str(asked).encode() == msg_id
