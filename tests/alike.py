"""What a cell gave in fastshell and in ipykernel, compared with all details.

Thread: the test's. A pair is two front ends, of fastshell and of ipykernel. Beside `both.Both` this has the
tracebacks with their colours and the names of cells' files, and keeps each stream's text as a whole.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from client import Client, Done

#: What differs between two runs of one kernel.
VARIABLE = [
    (re.compile(r"ipykernel_\d+"), "ipykernel_PID"),
    (re.compile(r"(In|Out)(\x1b\[[0-9;]*m)*\[\d+\]"), r"\1[N]"),
    (re.compile(r"0x[0-9a-f]{6,16}"), "ADDRESS"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b"), "ID"),
    (re.compile(r"\d+(\.\d+)?(e[+-]\d+)? ?(ns|us|µs|μs|ms|s)\b"), "TIME"),
    (re.compile(r"ipython_edit_\w+"), "ipython_edit"),
    (re.compile(r"ipython_edit/\w+"), "ipython_edit/NAME"),
]


def normal(value: Any) -> Any:
    if isinstance(value, str):
        for pattern, replacement in VARIABLE:
            value = pattern.sub(replacement, value)
    elif isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    elif isinstance(value, list):
        return [normal(item) for item in value]
    return value


def record(done: Done) -> Any:
    """What is compared of a cell."""
    reply = {
        name: done.content.get(name)
        for name in ("status", "ename", "evalue", "traceback", "payload", "user_expressions")
    }
    outputs: list[Any] = []
    texts = {"stdout": "", "stderr": ""}
    for message in done.iopub:
        content = dict(message.content)
        content.pop("execution_count", None)
        if message.msg_type == "stream":
            texts[content["name"]] += content["text"]
        elif message.msg_type not in ("status", "execute_input"):
            outputs.append([message.msg_type, content])
    return normal({"reply": reply, "outputs": outputs, "texts": texts})


def assert_same(ours: Done, reference: Done, code: str) -> None:
    expected, actual = (
        json.dumps(record(done), indent=1, sort_keys=True).splitlines() for done in (reference, ours)
    )
    differences = difflib.unified_diff(expected, actual, "ipykernel", "fastshell", lineterm="", n=1)
    assert actual == expected, "\n".join([code, *differences])


def compare(pair: tuple[Client, Client], code: str, **options: Any) -> Done:
    """Run a cell in both; the Done of ours, once it is known to be the same."""
    ours, reference = (client.execute(code, **options) for client in pair)
    assert_same(ours, reference, code)
    return ours


def compare_answering(pair: tuple[Client, Client], code: str, *answers: str) -> Done:
    """The same for a cell that asks."""
    done = []
    for client in pair:
        msg_id = client.start(code)
        questions = [client.answer(msg_id, answer).content for answer in answers]
        done.append((client.finish(msg_id), questions))
    (ours, our_questions), (reference, reference_questions) = done
    assert our_questions == reference_questions
    assert_same(ours, reference, code)
    return ours
