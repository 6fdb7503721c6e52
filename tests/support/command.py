"""The docqueue command, run as people run it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.fixture
def docqueue(environ):
    """Run the command: ``docqueue("stats", settings={"LOG_LEVEL": "DEBUG"})``."""

    def run(*arguments, check=True, stdin=None, settings=None):
        answer = subprocess.run(
            [sys.executable, "-c", "from jobs.cli import main; main()", *arguments],
            env={"PATH": os.environ["PATH"], **environ, **(settings or {})},
            capture_output=True,
            text=True,
            input=stdin,
            timeout=60,
            check=False,
        )
        if check:
            assert answer.returncode == 0, answer.stderr
        return answer

    return run
