"""A kernel for a toy language: a line is echoed, `?name` asks for a value, `wait` waits for an interrupt.

Run it with `python examples/echo_kernel.py -f CONNECTION_FILE`; docs/other-languages.md explains it.
"""

import time

from fastshell import launch
from fastshell.kernel import Kernel


class EchoKernel(Kernel):
    implementation = "echo"
    implementation_version = "1.0"
    banner = "Echo: says what you say"
    language_info = {"name": "echo", "mimetype": "text/plain", "file_extension": ".txt"}

    def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False):
        for line in code.splitlines():
            while line == "wait":
                time.sleep(0.1)
            print(self.raw_input(f"{line[1:]}: ") if line.startswith("?") else line)
        return {"status": "ok", "execution_count": self.execution_count}

    def do_complete(self, code, cursor_pos):
        start = code.rfind("\n", 0, cursor_pos) + 1
        matches = ["wait"] if "wait".startswith(code[start:cursor_pos]) else []
        return {"status": "ok", "matches": matches, "cursor_start": start, "cursor_end": cursor_pos}


if __name__ == "__main__":
    launch(EchoKernel)
