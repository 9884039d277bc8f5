"""pdb in cells asks and answers as under ipykernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from alike import compare, compare_answering
from client import Client

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(client: Client, shared_reference: Any) -> Iterator[tuple[Client, Client]]:
    """Front ends of fastshell and of ipykernel."""
    reference = shared_reference.new_client()
    yield client, reference
    reference.close()


def test_debugger_in_a_cell(pair: tuple[Client, Client]) -> None:
    compare_answering(pair, "import pdb; x = 'of the cell'\npdb.set_trace()\ny = 2", "p x", "n", "p y", "c")
    compare_answering(pair, "pdb.set_trace(); 7", "p x", "c")
    compare(pair, "def step(a):\n    return a + 1")
    compare_answering(pair, "%debug step(5)", "s", "s", "p a", "c")
    compare_answering(pair, "%%debug\nz = 1\nz = 2", "n", "c")
    compare_answering(pair, "pdb.set_trace(); 8", "q")
    compare(pair, "6*7")


def test_debugger_after_an_error(pair: tuple[Client, Client]) -> None:
    compare(pair, "def fails(a):\n    b = a + 1\n    return b / 0")
    compare(pair, "fails(3)")
    done = compare_answering(pair, "%debug", "p a, b", "up", "list", "nosuch", "q")
    assert "(3, 4)" in done.text()


def test_debugger_on_every_error(pair: tuple[Client, Client]) -> None:
    compare(pair, "%pdb on")
    compare_answering(pair, "fails(4)", "p b", "q")
    compare(pair, "%pdb off")
