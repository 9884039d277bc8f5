"""The same requests for fastshell and for ipykernel, and what each gave, as far as it should be alike.

Thread: the test's. The fixture `both` makes one of these, of two kernels that all tests of a module share.
"""

from __future__ import annotations

import json
import re
from typing import Any

from client import Client, Done

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}(_\d+_\d+)?")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
#: The file of a cell: its name has the process in it, or the count of the cell.
_CELL = re.compile(r"[\w./\\:-]*(?:ipykernel_\d+[/\\]+\d+\.py|(?:<|&lt;)ipython-input-[\w-]+(?:>|&gt;))")


class Both:
    """Two front ends, of fastshell and of ipykernel. Give them the same requests in the same order."""

    def __init__(self, ours: Client, reference: Client) -> None:
        self.ours = ours
        self.reference = reference

    def setup(self, code: str) -> None:
        """Run a cell in both, and look at its success only."""
        for client in (self.ours, self.reference):
            client.execute(code, timeout_s=40).ok()

    def execute(self, code: str, **options: Any) -> Done:
        """Run a cell in both, assert that what came is alike, and return ours."""
        ours, reference = (
            client.execute(code, timeout_s=40, **options) for client in (self.ours, self.reference)
        )
        _assert_alike(summary(ours), summary(reference))
        return ours

    def request(self, msg_type: str, content: dict[str, Any], **options: Any) -> Done:
        """The same for any request, with its whole reply."""
        ours, reference = (
            client.request(msg_type, content, timeout_s=40, **options)
            for client in (self.ours, self.reference)
        )
        if msg_type.endswith("_request"):
            _assert_alike(plain(ours.content), plain(reference.content))
        _assert_alike(outputs(ours), outputs(reference))
        return ours


def _assert_alike(ours: Any, reference: Any) -> None:
    assert ours == reference, f"\nfastshell: {ours}\nipykernel: {reference}"


def summary(done: Done) -> dict[str, Any]:
    """What an execute_request gave: of its error the name and the message, and no count."""
    kept = ("status", "ename", "evalue", "payload", "user_expressions")
    return {
        "reply": {key: plain(value) for key, value in done.content.items() if key in kept},
        "outputs": outputs(done),
    }


def outputs(done: Done) -> Any:
    """What was published between busy and idle, in its order; ids and addresses are numbered.

    The order between stdout and stderr is left out: ipykernel does not keep it.
    """
    found: list[tuple[str, Any]] = []
    for message in done.iopub:
        content = dict(message.content)
        content.pop("execution_count", None)
        content.pop("traceback", None)
        if message.msg_type == "stream":
            if not found or found[-1][0] != "streams":
                found.append(("streams", {}))
            texts = found[-1][1]
            texts[content["name"]] = texts.get(content["name"], "") + content["text"]
        elif message.msg_type not in ("status", "execute_input"):
            details = {"metadata": message.metadata, "buffers": [bytes(b).hex() for b in message.buffers]}
            found.append((message.msg_type, content | details))
    return plain(found)


def plain(value: Any) -> Any:
    """The same value without what differs from process to process."""
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return numbers.setdefault(found.group(), f"id-{len(numbers)}")

    text = json.dumps(value, default=str, sort_keys=True)
    return json.loads(_UUID.sub(number, _CELL.sub("cell.py", _ADDRESS.sub("0x", text))))
