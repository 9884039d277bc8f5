"""How fast is the router alone?

A client in C sends signed execute_requests over tcp; the router verifies them and hands them through
one PAIR to a thread in C, which answers each through the outbox; no IPython, and no Python on the way.
Then a burst goes to a shell that does not read. Client and router share the machine's cores.
"""

import argparse
import os
import platform
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import zmq
from _build import load_client

import fastshell
from fastshell import _router
from fastshell._contract import CHANNELS

client_c = load_client()

TARGET_PER_S = 150_000  # at window 64, there and back
TARGET_CPU_US = 60  # for each message at window 1, all threads of the process, the client's too

FULL = SimpleNamespace(rounds=7, alone=5_000, pipelined=100_000, warm_up=2_000, burst=100_000)
SMOKE = SimpleNamespace(rounds=1, alone=200, pipelined=2_000, warm_up=100, burst=5_000)


@dataclass
class Failures:
    """Answers that were wrong or did not come, over all rounds."""

    wrong: int = 0
    lost: int = 0

    def add(self, done):
        self.wrong += done.wrong
        self.lost += done.lost


class Setup:
    """A router, its shells in C, and the clients' stock of sessions."""

    def __init__(self, key, transport="tcp"):
        place = "tcp://127.0.0.1:*" if transport == "tcp" else f"ipc:///tmp/bench-{os.getpid()}-{id(self)}-"
        self.key = key
        self.sessions = 0
        self.shells = {}
        before = set(client_c.thread_cpu_ns())
        self.router = _router.Router(
            {channel: place + (channel if transport == "ipc" else "") for channel in CHANNELS},
            key=key, session="bench-kernel", username="bench", kernel_info=b'{"status":"ok"}', log_fd=2,
        )  # fmt: skip
        self.open("main").start()
        self.open("control").start()
        self.endpoints = self.router.start()
        self.io_threads = {t for t in client_c.thread_cpu_ns() if t not in before and "IO" in t[1]}
        self.router_tid = max(t.native_id for t in threading.enumerate() if t.name == "fastshell-router")

    def open(self, name):
        """Return the thread that will read the channel `name`; until it is started nobody does."""
        channel = self.router.open_channel(name)
        thread = threading.Thread(
            target=client_c.serve_echo, args=(channel, self.router.outbox), name=f"echo-{name}"
        )
        self.shells[name] = channel, thread
        return thread

    def session(self):
        """As long as those of jupyter_client, and never the same."""
        self.sessions += 1
        return f"{id(self) & 0xFFFFFFFF:08x}-{self.sessions:024x}"

    def requests(self, count, subshell_id=None):
        return client_c.Requests(count, self.key, self.session(), subshell_id)

    def connect(self, channel="shell"):
        return client_c.Client(self.endpoints[channel], self.session())

    def stop(self):
        for name, (channel, thread) in self.shells.items():
            self.router.close_channel(name)
            thread.join()
            channel.close()
        self.router.stop()


@dataclass
class Figures:
    """Of one kind of setup, a value for each round."""

    p50_us: list = field(default_factory=list)
    p99_us: list = field(default_factory=list)
    cpu_us: dict = field(default_factory=dict)  # for each message, by kind of thread, window 1
    busy_us: dict = field(default_factory=dict)  # the same at window 64
    per_s: list = field(default_factory=list)


def cpu_by_kind(setup, before, after):
    """CPU time in ns that went by between two `thread_cpu_ns`, by what the thread does."""
    tids = {thread.native_id: thread.name for thread in threading.enumerate()}
    used = {"router": 0, "router's I/O": 0, "shell": 0, "client": 0, "client's I/O": 0, "all": 0}
    for thread, total in after.items():
        ns = total - before.get(thread, 0)
        used["all"] += ns
        if thread[0] == setup.router_tid:
            used["router"] += ns
        elif thread in setup.io_threads:
            used["router's I/O"] += ns
        elif tids.get(thread[0], "").startswith("echo-"):
            used["shell"] += ns
        elif thread[0] == threading.get_native_id():
            used["client"] += ns
        elif "IO" in thread[1]:
            used["client's I/O"] += ns
    return used


def measure(setup, client, count, window, failures):
    """Return (Round, CPU µs for each message by kind of thread)."""
    requests = setup.requests(count)
    before = client_c.thread_cpu_ns()
    done = client.run(requests, 0, count, window)
    used = cpu_by_kind(setup, before, client_c.thread_cpu_ns())
    failures.add(done)
    return done, {kind: ns / count / 1000 for kind, ns in used.items()}


def throughput(setups, sizes, failures):
    """Return Figures for each of `setups`; their rounds take turns, so that noise hits all alike."""
    figures = {name: Figures() for name in setups}
    clients = {name: setup.connect() for name, setup in setups.items()}
    for name, setup in setups.items():
        requests = setup.requests(sizes.warm_up)
        failures.add(clients[name].run(requests, 0, sizes.warm_up, 8, check_signatures=True))
    for _ in range(sizes.rounds):
        for name, setup in setups.items():
            done, used = measure(setup, clients[name], sizes.alone, 1, failures)
            latencies = sorted(done.latencies_ns)
            figures[name].p50_us.append(latencies[len(latencies) // 2] / 1000)
            figures[name].p99_us.append(latencies[len(latencies) * 99 // 100] / 1000)
            collect(figures[name].cpu_us, used)
            done, used = measure(setup, clients[name], sizes.pipelined, 64, failures)
            figures[name].per_s.append(sizes.pipelined / done.elapsed_ns * 1e9)
            collect(figures[name].busy_us, used)
    for client in clients.values():
        client.close()
    return figures


def collect(into, used):
    for kind, value in used.items():
        into.setdefault(kind, []).append(value)


class Probe(threading.Thread):
    """Asks again and again while something else goes on; `latencies_ns` and `failures` say how it went."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask
        self.over = threading.Event()
        self.latencies_ns = []
        self.failures = Failures()
        self.start()

    def run(self):
        while not self.over.is_set():
            done = self.ask()
            self.latencies_ns += done.latencies_ns
            self.failures.add(done)

    def finish(self):
        self.over.set()
        self.join()


def burst(setup, count, failures):
    """Send `count` requests to a shell that does not read; meanwhile ask another shell and the heartbeat.

    Then the shell reads after all, and every request must be answered.
    """
    sleeper = setup.open("sleeper")
    requests = setup.requests(count, "sleeper")
    client, other, heart = setup.connect(), setup.connect(), setup.connect("hb")
    awake = setup.requests(20_000)  # many times what can be asked meanwhile
    position = iter(range(0, awake.count, 10))
    rss_before = peak_rss_kib(reset=True)
    relayed_before = setup.router.statistics().relayed["shell"]
    probes = [Probe(lambda: other.run(awake, next(position), 10, 1)), Probe(lambda: heart.ping(10))]
    started = time.perf_counter()
    client.send(requests, 0, count)
    sent = time.perf_counter() - started
    deadline = started + 60
    while time.perf_counter() < deadline:
        own = setup.router.statistics().relayed["shell"] - relayed_before - len(probes[0].latencies_ns)
        if own >= count:
            break
        time.sleep(0.001)
    relayed = time.perf_counter() - started
    for probe in probes:
        probe.finish()
        failures.wrong += probe.failures.wrong
        failures.lost += probe.failures.lost
    statistics_ = setup.router.statistics()
    dropped = sum(statistics_.dropped.values())
    peak = peak_rss_kib()
    sleeper.start()
    answered = client.take(requests, 0, count)
    failures.add(answered)
    for each in (client, other, heart):
        each.close()
    print(f"burst of {count:,} to a shell that does not read")
    print(f"  sent in {sent:.3f} s, all in its queue after {relayed:.3f} s"
          f" ({statistics_.queued_bytes['sleeper'] / 2**20:.0f} MiB), dropped {dropped}")  # fmt: skip
    for name, probe in zip(("another shell", "the heartbeat"), probes, strict=True):
        print(f"  meanwhile {name}: {spread(probe.latencies_ns)}")
    print(f"  then it reads: {count - answered.lost:,} answered in {answered.elapsed_ns / 1e9:.3f} s,"
          f" lost {answered.lost}, wrong {answered.wrong}")  # fmt: skip
    each = (peak - rss_before) * 1024 / count
    print(f"  peak RSS {peak / 1024:.0f} MiB, {rss_before / 1024:.0f} before")
    print(f"  that is {each:,.0f} bytes for each message, the client's queue included")
    failures.wrong += dropped


def peak_rss_kib(reset=False):
    """Largest resident size since the last reset; with `reset`, that is the present one. Linux only."""
    if reset:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def spread(latencies_ns):
    """Text: how many, and p50, p99 and the longest in ms."""
    if not latencies_ns:
        return "no answer"
    ordered = sorted(latencies_ns)
    p50, p99, longest = (ordered[at] / 1e6 for at in (len(ordered) // 2, len(ordered) * 99 // 100, -1))
    return f"{len(ordered):,} answers, p50 {p50:.2f}, p99 {p99:.2f}, longest {longest:.2f} ms"


def machine():
    """Text: what it ran on, and with which versions."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return (
        f"{os.cpu_count()} cores {model}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, libzmq {_router.libzmq()[0]}, pyzmq {zmq.__version__}, "
        f"fastshell {fastshell.__version__}"
    )


def show(figures, sizes):
    print(f"\n{sizes.rounds} rounds, medians; window 1: {sizes.alone:,} messages a round, "
          f"window 64: {sizes.pipelined:,}\n")  # fmt: skip
    print("            window 1                            CPU µs a message        window 64, messages/s")
    print("            p50 µs  p99 µs                      router  process      median     best    worst")
    for name, each in figures.items():
        median = statistics.median
        cpu = each.cpu_us
        print(f"{name:<10} {median(each.p50_us):>7.1f} {median(each.p99_us):>7.1f} {'':>20} "
              f"{median(cpu['router']):>8.1f} {median(cpu['all']):>8.1f} "
              f"{median(each.per_s):>11,.0f} {max(each.per_s):>8,.0f} {min(each.per_s):>8,.0f}")  # fmt: skip
    print("\nCPU µs a message, by thread")
    kinds = next(iter(figures.values())).cpu_us
    print(f"{'':<22}" + "".join(f"{kind:>14}" for kind in kinds))
    for name, each in figures.items():
        for window, used in ((1, each.cpu_us), (64, each.busy_us)):
            row = "".join(f"{statistics.median(used[kind]):>14.2f}" for kind in kinds)
            print(f"{name:<10} window {window:<4}{row}")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="few messages; only whether answers are right")
    parser.add_argument("--transport", choices=("tcp", "ipc"), default="tcp")
    parser.add_argument("--rounds", type=int)
    arguments = parser.parse_args()
    sizes = SMOKE if arguments.smoke else FULL
    if arguments.rounds:
        sizes.rounds = arguments.rounds
    failures = Failures()
    print(machine())
    setups = {
        "signed": Setup(b"0123456789abcdef0123456789abcdef", arguments.transport),
        "unsigned": Setup(b"", arguments.transport),
    }
    show(throughput(setups, sizes, failures), sizes)
    burst(setups["signed"], sizes.burst, failures)
    for setup in setups.values():
        setup.stop()
    print(f"wrong {failures.wrong}, lost {failures.lost}")
    print(f"aims: {TARGET_PER_S:,} messages/s at window 64, under {TARGET_CPU_US} CPU µs at window 1")
    return 1 if failures.wrong or failures.lost else 0


if __name__ == "__main__":
    sys.exit(main())
