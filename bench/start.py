"""How soon after its start does a kernel answer, and what does it cost to have one?

Both requests are on their way before the kernel can listen. Threads and memory are those of a kernel
that has answered them and had nothing to do for two seconds.
"""

import sys
import time

import lean

IDLE_S = 2.0


def one_round(kind, results, smoke):
    """Start the kernel, ask, and look at the process."""
    kernel = lean.Kernel(kind)
    client = lean.Client(kernel.connection)
    try:
        info = client.prepare("kernel_info_request", {})
        first = client.execute("1 + 1", user_expressions={"two": "1 + 1"})
        client.send(info)
        client.send(first)
        answer = client.receive(info)
        results.add(kind, "start to first kernel_info_reply", [time.perf_counter_ns() - kernel.started_ns])
        reply = client.receive(first)
        results.add(kind, "start to first execute_reply", [time.perf_counter_ns() - kernel.started_ns])
        if client.content(answer)["language_info"]["name"] != "python":
            raise lean.Wrong("kernel_info_reply")
        if client.content(reply)["user_expressions"]["two"]["data"]["text/plain"] != "2":
            raise lean.Wrong("1 + 1")
        time.sleep(0.1 if smoke else IDLE_S)
        threads, uss_mib = kernel.statistics()
        results.add(kind, "threads", threads)
        results.add(kind, "USS in MiB", uss_mib)
    finally:
        kernel.stop(client)
        client.close()


if __name__ == "__main__":
    sys.exit(lean.compare(__doc__.splitlines()[0], one_round, rounds=9))
