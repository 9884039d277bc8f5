"""A lean Jupyter client over raw zmq, kernels to talk to, and tables: what the benchmarks share.

While the clock runs, frames that were built and signed before are sent, and the client waits in
blocking receives, so that it leaves the cores to the kernel. Nothing is parsed then: an answer is
known by the bytes of its parent's msg_id. What it says is checked after the clock has stopped.
"""

import argparse
import hashlib
import hmac
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
import zmq

DELIMITER = b"<IDS|MSG>"
CHANNELS = ("shell", "control", "stdin", "iopub", "hb")

#: Cells that both benchmarks run first: `seen` proves what was executed; a comm target that echoes.
SETUP = """\
import comm, time
seen = []
def _echo(channel, message):
    channel.on_msg(lambda message: channel.send(message["content"]["data"]))
comm.get_comm_manager().register_target("bench.echo", _echo)
"""


class Lost(Exception):
    """No answer within the client's timeout."""


class Wrong(Exception):
    """An answer that is not what was asked for; the text says in what."""


# --- kernels ---


@dataclass(frozen=True)
class Kind:
    """A kernel to be measured: how to start it, and what it is."""

    label: str
    argv: tuple[str, ...]  # with {connection_file}
    versions: str


def kind(word):
    """Return the Kind for a kernelspec's name, for PYTHON[:MODULE] (MODULE is fastshell if absent), or for
    the path of a kernel.json in an environment of its own: `python` there is that environment's.
    """
    if word.endswith("kernel.json"):
        spec = json.loads(Path(word).read_text())
        prefix = Path(word).absolute().parents[4]  # .../share/jupyter/kernels/NAME/kernel.json
        return _kind(spec["display_name"], (str(prefix / "bin" / "python"), *spec["argv"][1:]))
    python, _, module = word.partition(":")
    if shutil.which(python) and ("/" in python or module):
        argv = (python, "-m", module or "fastshell", "-f", "{connection_file}")
        return _kind(module.removesuffix("_launcher") or "fastshell", argv)
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        argv = KernelSpecManager(ensure_native_kernel=False).get_kernel_spec(word).argv
    except NoSuchKernel:
        raise argparse.ArgumentTypeError(f"{word}: neither a kernelspec nor a path of a Python") from None
    return _kind(word, (sys.executable if argv[0] == "python" else argv[0], *argv[1:]))


def both(python):
    """Return the Kinds fastshell and ipykernel of one Python."""
    return [kind(f"{python}:fastshell"), kind(f"{python}:ipykernel_launcher")]


def _kind(label, argv):
    names = ("fastshell-kernel", "ipykernel", "ipymini", "async-kernel", "xeus-python", "ipython", "pyzmq")
    program = f"""
import platform, sys
from importlib.metadata import PackageNotFoundError, version
found = ["Python " + platform.python_version()]
for name in {names}:
    try:
        found.append(name + " " + version(name))
    except PackageNotFoundError:
        pass
print(", ".join(found))
"""
    done = subprocess.run([argv[0], "-c", program], capture_output=True, text=True, timeout=60)
    return Kind(label, tuple(argv), done.stdout.strip() or f"not a Python: {argv[0]}")


class Kernel:
    """One kernel process, started at once. `stop` ends it."""

    def __init__(self, kind):
        self.kind = kind
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self.connection = {
            "transport": "tcp",
            "ip": "127.0.0.1",
            "key": uuid.uuid4().hex,
            "signature_scheme": "hmac-sha256",
            "kernel_name": kind.label,
            **_free_ports(),
        }
        file = self.folder / "connection.json"
        file.write_text(json.dumps(self.connection))
        self.log = (self.folder / "log").open("wb")
        argv = [word.replace("{connection_file}", str(file)) for word in kind.argv]
        environment = os.environ | {"IPYTHONDIR": str(self.folder), "JUPYTER_RUNTIME_DIR": str(self.folder)}
        self.started_ns = time.perf_counter_ns()
        self.process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT
        )

    def statistics(self):
        """Return (threads, unique set size in MiB) of the process."""
        process = psutil.Process(self.process.pid)
        return process.num_threads(), process.memory_full_info().uss / 2**20

    def stop(self, client=None):
        """Ask it to end, if there is a client; after two seconds it is killed."""
        if client is not None:
            client.send(client.prepare("shutdown_request", {"restart": False}), "control")
        else:
            self.process.terminate()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_ports():
    sockets = {f"{channel}_port": socket.socket() for channel in CHANNELS}
    for one in sockets.values():
        one.bind(("127.0.0.1", 0))
    ports = {name: one.getsockname()[1] for name, one in sockets.items()}
    for one in sockets.values():
        one.close()
    return ports


@contextmanager
def running(kind, timeout_s=20.0):
    """A kernel that has answered once, and a client whose iopub subscription works."""
    kernel = Kernel(kind)
    client = Client(kernel.connection, timeout_s)
    try:
        client.wait_ready()
        yield kernel, client
    except (Lost, Wrong) as error:
        error.add_note(f"{kind.label} said:\n{(kernel.folder / 'log').read_text(errors='replace')[-3000:]}")
        raise
    finally:
        kernel.stop(client)
        client.close()


# --- messages ---


class Message(NamedTuple):
    """A request, ready to be sent, and what its answers are known by."""

    msg_id: bytes
    frames: list[bytes]


class Answer(NamedTuple):
    """Frames as they came, and when, in ns since the request was sent."""

    reply: list[bytes]  # from the delimiter on
    iopub: list[list[bytes]]
    reply_ns: int
    idle_ns: int


class Client:
    """The sockets of one front end. To be used by one thread."""

    def __init__(self, connection, timeout_s=20.0):
        self.session = uuid.uuid4().hex
        self.count = 0
        self.mac = hmac.new(connection["key"].encode(), digestmod=hashlib.sha256)
        self.context = zmq.Context()
        self.timeout_s = timeout_s
        self.early = []  # replies that came while another one was waited for
        self.endpoints = {
            channel: f"tcp://{connection['ip']}:{connection[f'{channel}_port']}" for channel in CHANNELS
        }
        self.shell = self._open("shell", zmq.DEALER)
        self.control = self._open("control", zmq.DEALER)
        self.iopub = self._open("iopub", zmq.SUB)
        self.iopub.subscribe(b"")
        self.hb = self._open("hb", zmq.REQ)

    def _open(self, channel, socket_type):
        one = self.context.socket(socket_type)
        one.linger = 500
        one.sndhwm = one.rcvhwm = 0
        one.rcvtimeo = int(self.timeout_s * 1000)
        one.reconnect_ivl = 2  # ms; with 100, the default, a kernel that starts is found late
        if socket_type == zmq.DEALER:
            one.routing_id = self.session.encode()
        one.connect(self.endpoints[channel])
        return one

    def close(self):
        for one in (self.shell, self.control, self.iopub, self.hb):
            one.close()
        self.context.term()

    # --- before and after the clock ---

    def prepare(self, msg_type, content, subshell_id=None):
        """Build and sign a request."""
        self.count += 1
        header = {
            "msg_id": f"{self.session}_{self.count:06}",
            "username": "bench",
            "session": self.session,
            "date": "2025-01-01T00:00:00.000000Z",
            "msg_type": msg_type,
            "version": "5.5",
        }
        if subshell_id is not None:
            header["subshell_id"] = subshell_id
        parts = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        return Message(header["msg_id"].encode(), [DELIMITER, self._sign(parts), *parts])

    def execute(self, code, subshell_id=None, **content):
        """Build an execute_request, with the defaults of a notebook."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        } | content
        return self.prepare("execute_request", content, subshell_id)

    def _sign(self, parts):
        mac = self.mac.copy()
        for part in parts:
            mac.update(part)
        return mac.hexdigest().encode()

    def content(self, frames, status="ok"):
        """Return an answer's content, decoded. Raises Wrong for a bad signature or another status."""
        start = frames.index(DELIMITER)
        if self._sign(frames[start + 2 : start + 6]) != frames[start + 1]:
            raise Wrong("signature")
        content = json.loads(frames[start + 5])
        if status is not None and content.get("status") != status:
            raise Wrong(f"status: {content}")
        return content

    def wait_ready(self):
        """Return once a request's idle has come over iopub."""
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            message = self.prepare("kernel_info_request", {})
            self.send(message)
            self.receive(message)
            while self.iopub.poll(100):
                frames = self.iopub.recv_multipart()
                if is_idle_of(message, frames):
                    return
        raise Lost("iopub says nothing")

    def run(self, code, subshell_id=None, **content):
        """Execute code and return the reply's content. Raises Wrong if it fails."""
        return self.content(self.ask(self.execute(code, subshell_id, **content)).reply)

    def evaluate(self, expression, subshell_id=None):
        """Return the repr of an expression's value."""
        found = self.run("", subshell_id, user_expressions={"value": expression})["user_expressions"]["value"]
        if found["status"] != "ok":
            raise Wrong(f"{expression}: {found}")
        return found["data"]["text/plain"]

    def create_subshell(self):
        """Return the id of a new subshell."""
        reply = self.ask(self.prepare("create_subshell_request", {}), "control").reply
        return self.content(reply)["subshell_id"]

    # --- while the clock runs ---

    def send(self, message, channel="shell"):
        (self.shell if channel == "shell" else self.control).send_multipart(message.frames)

    def receive(self, message, channel="shell"):
        """Wait for the reply to `message`; replies to others are kept for later. Raises Lost."""
        for number, frames in enumerate(self.early):
            if message.msg_id in frames[3]:
                return self.early.pop(number)
        one = self.shell if channel == "shell" else self.control
        try:
            while True:
                frames = one.recv_multipart()
                if message.msg_id in frames[3]:
                    return frames
                self.early.append(frames)
        except zmq.Again:
            raise Lost(f"no reply on {channel}") from None

    def until_idle(self, message):
        """Wait for the idle of `message`; return all that came over iopub until then. Raises Lost."""
        heard = []
        try:
            while True:
                frames = self.iopub.recv_multipart()
                heard.append(frames)
                if is_idle_of(message, frames):
                    return heard
        except zmq.Again:
            raise Lost("no idle") from None

    def ask(self, message, channel="shell"):
        """Send, and wait for the reply and then for the idle."""
        started = time.perf_counter_ns()
        self.send(message, channel)
        reply = self.receive(message, channel)
        replied = time.perf_counter_ns()
        heard = self.until_idle(message)
        return Answer(reply, heard, replied - started, time.perf_counter_ns() - started)

    def echo(self, message, text):
        """Send a comm_msg and wait for the comm_msg that has `text` in its data, then for the idle.

        Returns an Answer whose `reply` is the echo.
        """
        started = time.perf_counter_ns()
        self.send(message)
        heard = []
        try:
            while True:
                frames = self.iopub.recv_multipart()
                heard.append(frames)
                if text in frames[6] and b"comm_msg" in frames[3]:
                    break
        except zmq.Again:
            raise Lost("no echo") from None
        echoed = time.perf_counter_ns()
        heard += self.until_idle(message)
        return Answer(frames[1:], heard, echoed - started, time.perf_counter_ns() - started)

    def beat(self, data):
        """Return how long a heartbeat took, in ns. Raises Lost, Wrong."""
        started = time.perf_counter_ns()
        self.hb.send(data)
        try:
            answer = self.hb.recv()
        except zmq.Again:
            self.hb.close(linger=0)
            self.hb = self._open("hb", zmq.REQ)
            raise Lost("no heartbeat") from None
        took = time.perf_counter_ns() - started
        if answer != data:
            raise Wrong("heartbeat")
        return took

    def pipeline(self, messages, window):
        """Send all, at most `window` of them unanswered. Returns (replies, seconds until the last reply)."""
        replies = []
        started = time.perf_counter_ns()
        for message in messages[:window]:
            self.shell.send_multipart(message.frames)
        try:
            for message in messages[window:]:
                replies.append(self.shell.recv_multipart())
                self.shell.send_multipart(message.frames)
            while len(replies) < len(messages):
                replies.append(self.shell.recv_multipart())
        except zmq.Again:
            raise Lost(f"{len(messages) - len(replies)} of {len(messages)} replies") from None
        return replies, (time.perf_counter_ns() - started) / 1e9


def is_idle_of(message, frames):
    """Whether these frames of iopub are the idle of `message`. The first frame is the topic."""
    return message.msg_id in frames[4] and b"execution_state" in frames[6] and b'"idle"' in frames[6]


# --- asking again and again ---


@dataclass
class Faults:
    """Answers of one kernel that were wrong or did not come."""

    wrong: int = 0
    lost: int = 0
    first: str = ""

    def note(self, error):
        if isinstance(error, Lost):
            self.lost += 1
        else:
            self.wrong += 1
        self.first = self.first or f"{type(error).__name__}: {error}"

    def __bool__(self):
        return bool(self.wrong or self.lost)


def repeat(ask, count, faults, *, seconds, gaps=None):
    """Call ask(n) for n < count, no longer than `seconds`. Returns the list of its results.

    gaps: iterator of seconds to sleep before each, so that no kernel is met always in the same phase.
    A fault is noted and leaves no result; after three lost answers it is given up.
    """
    results = []
    deadline = time.monotonic() + seconds
    lost = faults.lost
    for number in range(count):
        if gaps is not None:
            time.sleep(next(gaps))
        try:
            results.append(ask(number))
        except (Lost, Wrong, KeyError, IndexError, ValueError) as error:
            faults.note(error)
        if time.monotonic() > deadline or faults.lost - lost >= 3:
            break
    return results


def check_executed(client, message, answer, code):
    """Raise Wrong unless an execute was announced with its code, and replied to with ok, under its msg_id.

    Returns the execution_count.
    """
    reply = client.content(answer.reply)
    inputs = [
        json.loads(frames[6])
        for frames in answer.iopub
        if b'"execute_input"' in frames[3] and message.msg_id in frames[4]
    ]
    if [one["code"] for one in inputs] != [code]:
        raise Wrong(f"execute_input: {inputs}")
    if inputs[0]["execution_count"] != reply["execution_count"]:
        raise Wrong(f"execution_count: {inputs} {reply}")
    return reply["execution_count"]


def check_echo(client, message, answer, data):
    """Raise Wrong unless an echo carries `data` under the msg_id of what it answers."""
    content = client.content(answer.reply, status=None)
    if content["data"] != data:
        raise Wrong(f"echo: {content}")
    if message.msg_id not in answer.reply[3]:
        raise Wrong("an echo under another's parent_header")


def open_echo(client, subshell_id=None):
    """Open a comm to the echo target; return its id."""
    comm_id = uuid.uuid4().hex
    content = {"comm_id": comm_id, "target_name": "bench.echo", "data": {}}
    message = client.prepare("comm_open", content, subshell_id)
    client.send(message)
    client.until_idle(message)
    return comm_id


def echo_once(client, comm_id, number, subshell_id=None):
    """Return how long one echo took, in ns."""
    data = {"text": f"echo-{number:06}-{uuid.uuid4().hex}"}
    message = client.prepare("comm_msg", {"comm_id": comm_id, "data": data}, subshell_id)
    answer = client.echo(message, data["text"].encode())
    check_echo(client, message, answer, data)
    return answer.reply_ns


def kernel_info_once(client, channel):
    """Return how long a kernel_info_request on this channel took to its reply, in ns."""
    answer = client.ask(client.prepare("kernel_info_request", {}), channel)
    if client.content(answer.reply)["language_info"]["name"] != "python":
        raise Wrong("kernel_info_reply")
    return answer.reply_ns


# --- results ---


@dataclass
class Results:
    """All samples: of each kernel, of each measure, a list for each round."""

    kinds: list
    samples: dict = field(default_factory=dict)
    faults: dict = field(default_factory=dict)

    def add(self, kind, measure, values):
        """values: a list of latencies in ns, or one number where `measure` is not a latency."""
        self.samples.setdefault(measure, {}).setdefault(kind, []).append(values)

    def faults_of(self, kind):
        return self.faults.setdefault(kind, Faults())

    def medians(self, kind, measure):
        """One value a round; None for a round that gave none."""
        rounds = self.samples.get(measure, {}).get(kind, [])
        return [
            values if not isinstance(values, list) else statistics.median(values) if values else None
            for values in rounds
        ]

    def ratios(self, kind, measure):
        """How many times better than the last kernel, for each round; "better" is less, but for rates."""
        pairs = zip(self.medians(kind, measure), self.medians(self.kinds[-1], measure), strict=False)
        ratios = [theirs / ours for ours, theirs in pairs if ours and theirs]
        return [1 / ratio for ratio in ratios] if measure.endswith("/s") else ratios

    def print(self):
        """A table for people: p50 / p99 / max in ms, medians of the rounds, and the ratio with its spread."""
        widths = [32, *[max(26, len(kind.label) + 2) for kind in self.kinds]]
        head = ["ms: p50 / p99 / max", *[kind.label for kind in self.kinds]]
        ratio_kinds = self.kinds[:-1]
        head += [f"{kind.label} is better by" for kind in ratio_kinds]
        widths += [max(26, len(kind.label) + 16) for kind in ratio_kinds]
        print("".join(text.ljust(width) for text, width in zip(head, widths, strict=True)).rstrip())
        for measure in self.samples:
            cells = [measure, *[self._cell(kind, measure) for kind in self.kinds]]
            cells += [self._ratio(kind, measure) for kind in ratio_kinds]
            print("".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip())
        for kind in self.kinds:
            faults = self.faults_of(kind)
            print(f"{kind.label}: {faults.wrong} wrong answers, {faults.lost} lost. {faults.first}".rstrip())

    def _cell(self, kind, measure):
        medians = [median for median in self.medians(kind, measure) if median is not None]
        if not medians:
            return "none"
        p50 = statistics.median(medians)
        rounds = self.samples[measure][kind]
        if not isinstance(rounds[0], list):
            return f"{p50:,.1f}" if p50 < 1000 else f"{p50:,.0f}"
        pooled = sorted(value for values in rounds for value in values)
        p99 = pooled[min(len(pooled) - 1, len(pooled) * 99 // 100)]
        return f"{p50 / 1e6:.3f} / {p99 / 1e6:.2f} / {pooled[-1] / 1e6:.2f}"

    def _ratio(self, kind, measure):
        ratios = self.ratios(kind, measure)
        if not ratios or "%" in measure:
            return ""
        return f"{statistics.median(ratios):.1f} x ({min(ratios):.1f} to {max(ratios):.1f})"

    def write(self, path):
        """All samples as JSON."""
        document = {
            "machine": machine(),
            "kernels": {kind.label: kind.versions for kind in self.kinds},
            "samples": {
                measure: {kind.label: rounds for kind, rounds in of_kinds.items()}
                for measure, of_kinds in self.samples.items()
            },
            "faults": {kind.label: vars(self.faults_of(kind)) for kind in self.kinds},
        }
        Path(path).write_text(json.dumps(document))


def machine():
    """One line: CPU, cores, system, load."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.open() if line.startswith("model name")]
        model = models[0] if models else model
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, load {load:.1f}"


# --- command line ---


def arguments(description, rounds):
    """Parse what the benchmarks have in common; `kinds` are the kernels, the last is the reference."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    kernels = "kernelspec, its kernel.json, or PYTHON[:MODULE]; repeat it, the reference last"
    add("--kernel", action="append", type=kind, metavar="NAME_OR_PYTHON", dest="kinds", help=kernels)
    pythons = "without --kernel: fastshell and ipykernel of this Python; default: the running one"
    add("--python", metavar="PYTHON", default=sys.executable, help=pythons)
    add("--rounds", type=int, help=f"default {rounds}; kernels take turns")
    add("--json", metavar="FILE", help="write all samples")
    smoke = "a few seconds; exit status 1 for wrong or lost answers, never for time"
    add("--smoke", action="store_true", help=smoke)
    options = parser.parse_args()
    options.kinds = options.kinds or both(options.python)
    if options.rounds is None:
        options.rounds = 1 if options.smoke else rounds
    return options


def compare(description, one_round, rounds):
    """Run `one_round(kind, results, smoke)` for each kernel in turn, print the table; return the exit status.

    The status is 1 if a kernel but the reference gave a wrong answer or none. (Alone, it is no reference.)
    """
    options = arguments(description, rounds)
    results = Results(options.kinds)
    print(machine())
    for one in options.kinds:
        print(f"{one.label}: {one.versions}")
    for number in range(options.rounds):
        for one in options.kinds if number % 2 == 0 else reversed(options.kinds):
            try:
                one_round(one, results, options.smoke)
            except (Lost, Wrong) as error:
                results.faults_of(one).note(error)
                print(f"{one.label}, round {number + 1} is incomplete: {error}", file=sys.stderr)
                print(*getattr(error, "__notes__", ()), file=sys.stderr)
    results.print()
    if options.json:
        results.write(options.json)
    judged = options.kinds[:-1] or options.kinds
    return 1 if any(results.faults_of(one) for one in judged) else 0
