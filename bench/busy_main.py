"""How soon does a subshell answer while the main thread computes in pure Python?

Main runs a loop of Python arithmetic that never lets go of the GIL by itself. Meanwhile a subshell
executes and echoes, control answers, subshells come and go, each after a short random pause.
Then: how fast is main's loop while the subshell gets 100 executes a second, whether or not it keeps up?
"""

import ast
import itertools
import random
import sys
import time
from types import SimpleNamespace

import lean

FULL = SimpleNamespace(count=300, seconds=8.0, cycles=30, window_s=2.0)
SMOKE = SimpleNamespace(count=15, seconds=3.0, cycles=3, window_s=0.3)

RATE_PER_S = 100
PAUSES_S = (0.001, 0.006)  # uniform; longer than the switch interval of 5 ms at times

BUSY = """\
count = 0
stop = False
def busy():
    global count
    x = 1
    while not stop:
        for _ in range(100):
            x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        count += 1
"""


def one_round(kind, results, smoke):
    """Start the kernel, keep its main thread busy, and take every measure once."""
    sizes = SMOKE if smoke else FULL
    faults = results.faults_of(kind)
    with lean.running(kind) as (_, client):
        client.run(lean.SETUP + BUSY)
        pilot, subshell = client.create_subshell(), client.create_subshell()
        comm_id = lean.open_echo(client, subshell)
        client.run("seen.append('first')", subshell)  # what is made on the first execute is not the question
        loop = client.execute("busy()")
        client.send(loop)
        while client.evaluate("count", pilot) == "0":
            time.sleep(0.01)
        try:
            latencies(client, kind, results, sizes, faults, subshell, comm_id)
            load = speed(client, kind, results, sizes, pilot, subshell)
        finally:
            client.run("stop = True", pilot)
        client.content(client.receive(loop))
        check_load(client, load, subshell, faults)


def latencies(client, kind, results, sizes, faults, subshell, comm_id):
    """Each request alone, after a pause."""
    generator = random.Random(1)
    pauses = (generator.uniform(*PAUSES_S) for _ in itertools.count())

    def execute(number):
        code = f"seen.append({number})"
        message = client.execute(code, subshell)
        answer = client.ask(message)
        lean.check_executed(client, message, answer, code)
        return answer.reply_ns, answer.idle_ns

    def repeat(ask, count):
        return lean.repeat(ask, count, faults, seconds=sizes.seconds, gaps=pauses)

    executed = repeat(execute, sizes.count)
    results.add(kind, "execute to reply", [reply_ns for reply_ns, _ in executed])
    results.add(kind, "execute to idle", [idle_ns for _, idle_ns in executed])
    echoed = repeat(lambda number: lean.echo_once(client, comm_id, number, subshell), sizes.count)
    results.add(kind, "comm echo", echoed)
    informed = repeat(lambda number: lean.kernel_info_once(client, "control"), sizes.count)
    results.add(kind, "kernel_info on control", informed)
    beats = repeat(lambda number: client.beat(b"beat %d" % number), sizes.count)
    results.add(kind, "heartbeat", beats)
    cycles = repeat(lambda number: create_and_delete(client), sizes.cycles)
    results.add(kind, "create a subshell", [create_ns for create_ns, _ in cycles])
    results.add(kind, "delete a subshell", [delete_ns for _, delete_ns in cycles])


def create_and_delete(client):
    """Return how long each took to its reply, in ns."""
    created = client.ask(client.prepare("create_subshell_request", {}), "control")
    subshell_id = client.content(created.reply)["subshell_id"]
    request = client.prepare("delete_subshell_request", {"subshell_id": subshell_id})
    deleted = client.ask(request, "control")
    client.content(deleted.reply)
    return created.reply_ns, deleted.reply_ns


def speed(client, kind, results, sizes, pilot, subshell):
    """Compare main's loop alone and under load; return the load's messages, whose answers are not yet read.

    The load does not wait for answers: a kernel that cannot keep up gets as much as one that can.
    """

    def loops_per_s(what):
        """main's speed while `what` is called, by the kernel's own clock."""
        before = ast.literal_eval(client.evaluate("(count, time.perf_counter())", pilot))
        what()
        after = ast.literal_eval(client.evaluate("(count, time.perf_counter())", pilot))
        return (after[0] - before[0]) / (after[1] - before[1])

    total = int(RATE_PER_S * sizes.window_s)
    load = [client.execute(f"seen.append('load-{number}')", subshell) for number in range(total)]

    def send_load():
        start = time.perf_counter()
        for number, message in enumerate(load):
            time.sleep(max(0.0, start + number / RATE_PER_S - time.perf_counter()))
            client.send(message)

    alone = loops_per_s(lambda: time.sleep(sizes.window_s / 2))
    loaded = loops_per_s(send_load)
    # A kernel that has fallen behind still answers here, so only a first pause counts as undisturbed.
    results.add(kind, "% of main's speed at 100/s", 100 * loaded / alone)
    return load


def check_load(client, load, subshell, faults):
    """Every message of the load was answered, in order, and executed once."""
    try:
        for message in load:
            client.content(client.receive(message))
        seen = ast.literal_eval(client.evaluate("[one for one in seen if 'load' in str(one)]", subshell))
        if seen != [f"load-{number}" for number in range(len(load))]:
            raise lean.Wrong(f"{len(seen)} of {len(load)} were executed, or in another order")
    except (lean.Lost, lean.Wrong) as error:
        faults.note(error)


if __name__ == "__main__":
    sys.exit(lean.compare(__doc__.splitlines()[0], one_round, rounds=5))
