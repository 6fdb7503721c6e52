"""An environment of its own for each peer, with exactly the packages that its list names."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from benchmarks.queues.peers import Peer

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".bench"
REQUIREMENTS = Path(__file__).with_name("requirements")
_NEWEST_MINOR = 14


class NotHere(Exception):
    """A peer cannot be installed on this machine; the text says why, for the table."""


class Installable(Protocol):
    """Something with an environment of its own."""

    @property
    def environment(self) -> str:
        """The name of its list of packages; empty for what needs none."""

    @property
    def python(self) -> tuple[int, int]:
        """The oldest Python that it runs on."""


def install(peer: Installable, requirements: Path = REQUIREMENTS) -> None:
    """Install a peer, unless it is there already.

    Args:
        peer: what to install.
        requirements: the folder with the lists of packages.

    Raises:
        NotHere: no Python that it runs on, or no package.
    """
    if not peer.environment:
        return
    folder = FOLDER / peer.environment
    stamp = folder / "installed"
    python = find_python(peer.python)
    wanted = f"{python}\n{(requirements / f'{peer.environment}.txt').read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {peer.environment} …", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        subprocess.run(
            [str(folder / "bin" / "pip"), "install", "--quiet", "--no-deps",
             "--requirement", str(requirements / f"{peer.environment}.txt")],
            check=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise NotHere("its packages could not be installed") from error
    stamp.write_text(wanted)


def program(peer: Installable, name: str) -> str:
    """Return the path of a program of a peer's environment."""
    return str((FOLDER / peer.environment if peer.environment else Path(sys.prefix)) / "bin" / name)


def version(peer: Peer) -> str:
    """Return which version of a peer its list names, ``""`` for what is no package."""
    listed = REQUIREMENTS / f"{peer.environment}.txt"
    if not peer.environment or not listed.exists():
        return ""
    for line in listed.read_text().splitlines():
        name, _, number = line.partition("==")
        if name == peer.environment:
            return f"{name} {number}"
    return ""


@functools.cache
def find_python(oldest: tuple[int, int]) -> str:
    """Return a Python interpreter that is new enough: this one, or another one of this machine.

    Raises:
        NotHere: there is none.
    """
    if sys.version_info[:2] >= oldest:
        return sys.executable
    for minor in range(oldest[1], _NEWEST_MINOR + 1):
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
        named = shutil.which(f"python3.{minor}")
        for candidate in ([named] if named else []) + sorted(
            str(path) for path in pyenv.glob(f"versions/3.{minor}.*/bin/python3")
        ):
            if _runs(candidate):
                return candidate
    raise NotHere(f"needs Python {oldest[0]}.{oldest[1]}, here is only {platform.python_version()}")


def _runs(python: str) -> bool:
    """Tell whether an interpreter starts; a version manager's stand-in may have nothing behind it."""
    tried = subprocess.run([python, "-c", "import venv, ensurepip"], check=False, capture_output=True)
    return tried.returncode == 0
