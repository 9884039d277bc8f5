"""How soon does a kernel answer that has nothing else to do?

`pass`, kernel_info and a comm's echo one by one on the main shell, and executes without waiting for
answers.
"""

import sys
from types import SimpleNamespace

import lean

FULL = SimpleNamespace(count=500, seconds=6.0, pipelined=2000)
SMOKE = SimpleNamespace(count=20, seconds=2.0, pipelined=100)

WINDOW = 100  # executes sent and not yet answered


def one_round(kind, results, smoke):
    """Start the kernel and take every measure once."""
    sizes = SMOKE if smoke else FULL
    faults = results.faults_of(kind)
    kernel = lean.Kernel(kind)
    client = lean.Client(kernel.connection)
    try:
        client.wait_ready()
        client.run(lean.SETUP)
        latencies(client, kind, results, sizes, faults)
        throughput(client, kind, results, sizes)
        client.beat(b"still there")
    finally:
        kernel.stop(client)
        client.close()


def latencies(client, kind, results, sizes, faults):
    """Each request alone, the next as soon as the last one's idle is there."""

    def execute(number):
        code = f"pass  # {number}"
        message = client.execute(code)
        answer = client.ask(message)
        lean.check_executed(client, message, answer, code)
        return answer.reply_ns, answer.idle_ns

    def repeat(ask):
        return lean.repeat(ask, sizes.count, faults, seconds=sizes.seconds)

    executed = repeat(execute)
    results.add(kind, "execute `pass` to reply", [reply_ns for reply_ns, _ in executed])
    results.add(kind, "execute `pass` to idle", [idle_ns for _, idle_ns in executed])
    for channel in ("shell", "control"):
        informed = repeat(lambda number, channel=channel: lean.kernel_info_once(client, channel))
        results.add(kind, f"kernel_info on {channel}", informed)
    comm_id = lean.open_echo(client)
    results.add(kind, "comm echo", repeat(lambda number: lean.echo_once(client, comm_id, number)))
    results.add(kind, "heartbeat", repeat(lambda number: client.beat(b"beat %d" % number)))


def throughput(client, kind, results, sizes):
    """Executes up to the last reply; each one leaves a trace in `seen`."""
    messages = [client.execute(f"seen.append({number})") for number in range(sizes.pipelined)]
    replies, seconds = client.pipeline(messages, WINDOW)
    results.add(kind, "pipelined executes/s", len(messages) / seconds)
    for message, reply in zip(messages, replies, strict=True):
        if message.msg_id not in reply[3]:
            raise lean.Wrong("replies in another order")
        client.content(reply)
    client.until_idle(messages[-1])
    if client.evaluate(f"seen == list(range({len(messages)}))") != "True":
        raise lean.Wrong("not every execute was executed, once and in order")


if __name__ == "__main__":
    sys.exit(lean.compare(__doc__.splitlines()[0], one_round, rounds=5))
