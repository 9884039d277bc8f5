"""history_request in all its forms, beside ipykernel: of this session, of earlier ones, of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from both import Both
from conftest import FASTSHELL, REFERENCE, RunningKernel

FIRST = ["'of the first session'", "import os\nos.sep", "1 + 1"]
SECOND = ["1 + 1", "!echo 2", "x = 'é'", "1 + 1", "%timeit -n1 -r1 -q 1", "display(3)\n4", "1 / 0", "'last'"]


@pytest.fixture(scope="module")
def sessions(router: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The second session of both kernels: each has a database that an earlier kernel has filled."""
    running = []
    for argv, env in ((FASTSHELL, {"FASTSHELL_ROUTER": router}), (REFERENCE, {})):
        welcome = argv is FASTSHELL
        ipython: Path = tmp_path_factory.mktemp("ipython")
        for cells in (FIRST, SECOND):
            kernel = RunningKernel(
                tmp_path_factory.mktemp("k"),
                argv,
                env | {"IPYTHONDIR": str(ipython)},
                expects_welcome=welcome,
            )
            for code in cells:
                kernel.client.execute(code)
            if cells is FIRST:
                kernel.client.execute("not stored", store_history=False)
                kernel.shutdown()
        running.append(kernel)
    yield Both(running[0].client, running[1].client)
    running[0].shutdown()
    running[1].kill()


FORMS: list[dict[str, Any]] = [
    {"hist_access_type": "tail", "n": 3},
    {"hist_access_type": "tail", "n": 3, "raw": False},
    {"hist_access_type": "tail", "n": 3, "output": True},
    {"hist_access_type": "tail", "n": 100},
    {"hist_access_type": "tail", "n": 0},
    {"hist_access_type": "tail"},
    {"hist_access_type": "range", "session": 0, "start": 1, "stop": 3},
    {"hist_access_type": "range", "session": 0, "start": 1, "stop": 3, "output": True},
    {"hist_access_type": "range", "session": 0, "start": 2, "stop": None, "raw": False},
    {"hist_access_type": "range", "session": 0, "start": 0, "stop": 100},
    {"hist_access_type": "range", "session": 0, "start": -2, "stop": None},
    {"hist_access_type": "range", "session": 0, "start": 6, "stop": 7, "output": True},
    {"hist_access_type": "range", "session": 0},
    {"hist_access_type": "range"},
    {"hist_access_type": "range", "session": 1, "start": 1, "stop": 3},
    {"hist_access_type": "range", "session": 1},
    {"hist_access_type": "range", "session": 99},
    {"hist_access_type": "range", "session": -1},
    {"hist_access_type": "range", "session": -1, "start": 1, "stop": 2, "output": True, "raw": False},
    {"hist_access_type": "range", "session": -5, "start": 1, "stop": 3},
    {"hist_access_type": "search", "pattern": "*1*"},
    {"hist_access_type": "search", "pattern": "1 + 1"},
    {"hist_access_type": "search", "pattern": "1 + 1", "unique": True},
    {"hist_access_type": "search", "pattern": "*", "n": 2},
    {"hist_access_type": "search", "pattern": "*", "n": 4, "unique": True, "output": True},
    {"hist_access_type": "search", "pattern": "?echo*"},
    {"hist_access_type": "search", "pattern": "*echo*", "raw": False},
    {"hist_access_type": "search", "pattern": "x = [!a]*"},
    {"hist_access_type": "search", "pattern": "*'é'"},
    {"hist_access_type": "search", "pattern": "nowhere*"},
    {"hist_access_type": "search", "pattern": "*", "output": True},
    {"hist_access_type": "search", "n": 1},
    {"hist_access_type": "no such type"},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_history(sessions: Both, form: dict[str, Any]) -> None:
    sessions.request("history_request", {"raw": True, "output": False} | form)


@pytest.mark.parametrize("form", [{"start": 1, "stop": 3}, {"output": True, "raw": False}], ids=str)
def test_the_running_session_by_its_number(sessions: Both, form: dict[str, Any]) -> None:
    """It is called what it was asked for by: jupyter_kernel_test wants that. ipykernel calls it 0."""
    content = {"hist_access_type": "range", "session": 2, "raw": True, "output": False} | form
    ours, reference = (
        client.request("history_request", content).content["history"]
        for client in (sessions.ours, sessions.reference)
    )
    assert ours == [[2, *line] for number, *line in reference]
    assert {number for number, *_ in reference} == {0}


def test_history_has_what_was_run(sessions: Both) -> None:
    """Not only alike: it is there."""
    content = {"hist_access_type": "range", "session": 0, "start": 1, "raw": True, "output": False}
    found = sessions.request("history_request", content).content["history"]
    assert found == [[0, number, code] for number, code in enumerate(SECOND, 1)]
    found = sessions.request("history_request", content | {"session": -1}).content["history"]
    assert found == [[1, number, code] for number, code in enumerate(FIRST, 1)]


@pytest.mark.parametrize(
    "code",
    [
        "%history",
        "%history -n 1-3",
        "%history -o 1-2",
        "%history ~1/1-2",
        "%history -g echo",
        "%recall 1",
        "%rerun 1",
    ],
)
def test_history_magics(sessions: Both, code: str) -> None:
    sessions.execute(code, store_history=False)
