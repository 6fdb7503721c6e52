"""The docqueue command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from jobs import cli
from tests.support.crash import run_in_child


@pytest.fixture
def docqueue(environ):
    """Run the command: ``docqueue("stats", settings={"LOG_LEVEL": "DEBUG"})``.

    The process is forked, with the program already loaded. ``test_cli.py`` starts it as people do.
    """

    def run(*arguments, check=True, stdin="", settings=None):
        with (
            tempfile.TemporaryFile("w+") as given,
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
        ):
            given.write(stdin)
            given.seek(0)

            def command():
                path = os.environ["PATH"]
                os.environ.clear()
                os.environ.update({"PATH": path, **environ, **(settings or {})})
                for number, file in enumerate((given, out, err)):
                    os.dup2(file.fileno(), number)
                sys.stdin = os.fdopen(0, closefd=False)
                sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
                try:
                    cli.main(arguments)
                except SystemExit as end:
                    return end.code
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()

            code = run_in_child(command)
            out.seek(0)
            err.seek(0)
            answer = subprocess.CompletedProcess(arguments, code, out.read(), err.read())
        if check:
            assert answer.returncode == 0, answer.stderr
        return answer

    return run


@pytest.fixture
def started_docqueue(environ):
    """The same, started by its own interpreter."""

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
