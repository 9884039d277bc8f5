"""kernel/windows.py: its logic, with a stand-in for the one call that only Windows has."""

from __future__ import annotations

from collections.abc import Sequence

from fastshell.kernel import windows


def calls_of(signalled: list[int], interrupt: int, parent: int) -> list[str]:
    """What `watch` calls when these handles are signalled one after the other; then waiting fails."""
    calls: list[str] = []

    def wait(handles: Sequence[int]) -> int:
        if not signalled:
            raise OSError("the handle is invalid")
        return list(handles).index(signalled.pop(0))

    windows.watch(interrupt, parent, lambda: calls.append("interrupt"), lambda: calls.append("parent"), wait)
    return calls


def test_handles() -> None:
    assert windows.handles_of({"JPY_INTERRUPT_EVENT": "12", "JPY_PARENT_PID": "34"}) == (12, 34)
    assert windows.handles_of({"JPY_INTERRUPT_EVENT": "", "JPY_PARENT_PID": "x"}) == (0, 0)


def test_interrupts_then_the_death_of_the_parent() -> None:
    """Nothing is waited for after that."""
    signalled = [12, 12, 34, 12]
    assert calls_of(signalled, 12, 34) == ["interrupt", "interrupt", "parent"]
    assert signalled == [12]


def test_one_of_them_only() -> None:
    assert calls_of([12, 12], 12, 0) == ["interrupt", "interrupt"]
    assert calls_of([34], 0, 34) == ["parent"]
    assert calls_of([], 0, 0) == []
