"""`cython -a` of the router: no line of the loop, or of what it calls, touches Python."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "fastshell"
FIRST, LAST = "# ---", "the Python face"  # the sections between are the router's thread

_LINE = re.compile(
    r'<pre class="cython line score-(\d+)"[^>]*>(?:.*?)<span class="">(\d+)</span>: (.*?)</pre>'
)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """(score, text) for each line of _router.pyx; the score is Cython's measure of Python interaction."""
    from Cython.Build import cythonize

    folder = tmp_path_factory.mktemp("annotate")
    package = folder / "fastshell"
    shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.html"))
    cythonize(
        str(package / "_router.pyx"),
        annotate=True,
        force=True,
        quiet=True,
        include_path=[str(folder)],
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False},
    )
    lines = [
        (int(score), html.unescape(re.sub(r"<[^>]+>", "", text)))
        for score, _, text in _LINE.findall((package / "_router.html").read_text("utf-8"))
    ]
    assert len(lines) > 1000
    return lines


def test_no_python_in_the_loop(annotated: list[tuple[int, str]]) -> None:
    texts = [text for _, text in annotated]
    start = next(i for i, text in enumerate(texts) if text.startswith(FIRST))
    end = next(i for i, text in enumerate(texts) if LAST in text and text.startswith(FIRST))
    assert any("void serve(" in text for text in texts[start:end])
    touching = [f"{i + 1}: {text} (score {score})" for i, (score, text) in enumerate(annotated) if score]
    within = [line for line in touching if start < int(line.split(":")[0]) <= end]
    assert within == []


def test_the_measure_sees_python(annotated: list[tuple[int, str]]) -> None:
    """The check could not fail if the scores were not read: the Python face has some."""
    assert sum(score for score, _ in annotated) > 0
