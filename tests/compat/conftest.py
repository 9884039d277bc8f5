"""One ipykernel for all tests of a module that compare."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client import Client
from conftest import REFERENCE, RunningKernel


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A front end of ipykernel."""
    running = RunningKernel(tmp_path_factory.mktemp("k"), REFERENCE, {}, expects_welcome=False)
    yield running.client
    running.kill()
