"""Types of the compiled router. `_pyrouter` offers the same names and behaviour."""

from collections.abc import Mapping, Sequence

from fastshell._contract import Destination, Received, Statistics

def libzmq() -> tuple[str, str]:
    """Return (version, file) of the libzmq in use. Thread: any."""

class Router:
    """The one owner of the wire sockets: poll, check, classify, relay.

    endpoints: ZeroMQ endpoint to bind for each of CHANNELS. A tcp port `*` means any free one.
    key: the connection file's key; b"" means messages are neither signed nor checked.
    session, username: stand in the header of all messages that leave.
    kernel_info: JSON content of kernel_info_reply; b"": the shells get these until Outbox.kernel_info.
    curve: (public, secret) Z85 keys; every wire socket is then a CURVE server.
    capture: read ends of the pipes that stand for fd 1 and fd 2, -1 for none.
    signal_fd: read end of the fd given to signal.set_wakeup_fd, -1 for none.
    parent_fd: a pidfd of the parent process, -1 for none.
    parent_pid: watched by getppid every 500 ms if parent_fd is -1; 0 for no watch.
    files: paths that the router unlinks when exit_after's time is over.
    log_fd: where one line for each kind of dropped message is written; -1 for nowhere.
    iopub_hwm: messages queued for one iopub subscriber before its further ones are dropped; 0 unlimited.
    subscriber_wait_s: for so long after the start, requests on shell wait for the first iopub subscriber.
    Raises ValueError for a missing channel or a scheme that this router does not sign.
    """

    def __init__(
        self,
        endpoints: Mapping[str, str],
        *,
        key: bytes,
        signature_scheme: str = "hmac-sha256",
        session: str,
        username: str,
        kernel_info: bytes,
        curve: tuple[bytes, bytes] | None = None,
        capture: tuple[int, int] = (-1, -1),
        signal_fd: int = -1,
        parent_fd: int = -1,
        parent_pid: int = 0,
        files: Sequence[str] = (),
        log_fd: int = -1,
        iopub_hwm: int = 100_000,
        subscriber_wait_s: float = 0.0,
    ) -> None: ...
    def start(self) -> dict[str, str]:
        """Bind all sockets on a thread of the router's own; return the endpoints as bound.

        Returns once the router is ready. Raises RouterError, naming channel and endpoint; nothing
        is left open then. May be called once.
        """
    def stop(self) -> None:
        """End every channel with Kind.STOP, send what the outbox holds, close, join.

        Lingers up to 300 ms for peers to take the last messages. May be called once; any thread.
        """
    def open_channel(self, name: str) -> Channel:
        """Make a thread's receiving end. Thread: any; the caller may hand it to the reading thread.

        name: "main", "control", or a subshell id. Messages for `name` are queued from the moment
        at which this returns; requests that were sent to the outbox later are seen by the router
        later. Raises ValueError if the name is in use, RouterError if no more sockets can be made.
        """
    def close_channel(self, name: str) -> bool:
        """Take a channel out of the table: its reader gets what is queued, then Kind.STOP.

        Returns False for a name that is not open. Thread: any.
        """
    def exit_after(self, seconds: float, status: int) -> None:
        """End the process with _exit(status) in that many seconds, whatever Python does; unlink `files`.

        Thread: any. A shorter time replaces a longer one.
        """
    @property
    def outbox(self) -> Outbox: ...
    def statistics(self) -> Statistics:
        """Thread: any."""

class Channel:
    """Receiving end of one shell's messages. Thread: one, the shell's own, but for close."""

    @property
    def name(self) -> str: ...
    @property
    def fd(self) -> int:
        """Readable after a message arrived. Edge-triggered: wait only after recv_nowait returned None."""
    def recv_nowait(self) -> Received | None:
        """Return the next message, or None if there is none. Never drops the GIL.

        Content of 64 KiB and more, and buffers, are memoryviews on the frames as they arrived.
        """
    def close(self) -> None:
        """Free the socket. Unread messages are lost. May be called twice."""

class Outbox:
    """The one door into the router. Thread: any; no call blocks or drops the GIL.

    Messages leave in the order of the calls, over all threads; text that was written leaves
    before what is sent later. In a forked child every call does nothing.
    """

    def send(
        self,
        destination: Destination,
        msg_type: str,
        parent: bytes,
        content: bytes,
        *,
        identities: Sequence[bytes] = (),
        metadata: bytes = b"{}",
        buffers: Sequence[object] = (),
        after_capture: bool = False,
    ) -> None:
        """Send one message; the header (new msg_id, date) and the signature are made here.

        parent: header bytes of the request that caused it, or b"{}".
        identities: routing identities; for IOPUB the topic (default: msg_type).
        buffers: contiguous bytes-likes; those of 64 KiB and more are lent, not copied, and kept
        alive until they have left.
        after_capture: first publish what waits in the captured file descriptors.
        """
    def status(self, execution_state: str, parent: bytes) -> None:
        """Publish busy, idle or starting."""
    def ask(self, channel: str, parent: bytes, content: bytes, identities: Sequence[bytes]) -> bytes:
        """Send an input_request; return its msg_id. The answer comes to `channel` as INPUT_REPLY.

        An input_reply goes to the request that its parent_header names, else to the only one
        that waits on the channel of its header's subshell_id (null: main), else to the only one that waits.
        """
    def forget(self, msg_id: bytes) -> None:
        """No longer wait for the answer to that input_request; a late one is dropped and counted."""
    def write(self, name: str, parent: bytes, text: bytes) -> None:
        """Add UTF-8 text to the stream `name` (stdout, stderr) under `parent`.

        Text is gathered and leaves as one `stream` message after 50 ms, at 64 KiB, or before
        anything that is sent, whichever is first.
        """
    def flush(self) -> None:
        """Let the text that was written leave now."""
    def capture_parent(self, parent: bytes) -> None:
        """Header bytes under which captured text is published from now on."""
    def kernel_info(self, content: bytes) -> None:
        """JSON content of the kernel_info_reply with which the router answers from now on."""

class Frame:
    """A received frame: what the memoryviews of content and buffers look at. Compiled router only."""

def kick_by_signal(number: int) -> None:
    """Before Python 3.13: let this signal make a busy main thread yield. Thread: main. Compiled router only.

    A Python handler that calls kick_yield must be installed for it first.
    """

def kick_yield() -> None:
    """Drop the GIL until no shell waits for it, at most 0.5 ms. Thread: main. Compiled router only."""
