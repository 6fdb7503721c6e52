"""How a process ended, said for people; only what is shown is said."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from jobs.horse_death import describe_death, describe_exit, oom_kills, peak_memory_bytes

UNIT = 1 if sys.platform == "darwin" else 1024


class Usage:
    ru_maxrss = 212_000_000 // UNIT


def killed_by(number):
    """What wait4 returns for a process that a signal ended."""
    assert os.WTERMSIG(number) == number
    return int(number)


@pytest.mark.parametrize(
    ("status", "arguments", "said"),
    [
        (killed_by(signal.SIGSEGV), {}, "the work process was killed by signal 11 (SIGSEGV)"),
        (killed_by(signal.SIGKILL), {}, "the work process was killed by signal 9 (SIGKILL)"),
        (
            killed_by(signal.SIGKILL), {"ran_out_of_memory": True},
            "the work process ran out of memory and was killed by the system, signal 9 (SIGKILL)",
        ),
        # A count that rose says nothing of a process that died of something else.
        (
            killed_by(signal.SIGSEGV), {"ran_out_of_memory": True},
            "the work process was killed by signal 11 (SIGSEGV)",
        ),
        (killed_by(signal.SIGKILL), {"ran_out_of_memory": True, "cause": "we killed it"}, "we killed it"),
        (3 << 8, {}, "the work process ended with exit code 3"),
        (killed_by(63), {}, "the work process was killed by signal 63 (unknown)"),
    ],
)  # fmt: skip
def test_the_sentence_tells_what_the_status_tells(status, arguments, said):
    assert describe_death(status, Usage(), **arguments) == f"{said}, having used 212 MB"


def test_without_a_status_it_is_said_that_nothing_is_known():
    assert describe_death(None, None) == "the work process vanished"
    assert peak_memory_bytes(None) is None


def test_any_process_can_be_described():
    assert describe_exit("the worker process", -15) == "the worker process was killed by signal 15 (SIGTERM)"
    assert describe_exit("the worker process", 1) == "the worker process ended with exit code 1"


def files(root, **texts):
    for path, text in texts.items():
        file = root / path.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


V2 = "low 0\nhigh 0\nmax 12\noom 5\noom_kill 4\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n"
MACHINE = "pgfault 12\noom_kill 8\nzone_reclaim_success 1\n"


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        (
            {
                "proc__self__cgroup": "0::/a/b\n", "sys__fs__cgroup__a__b__memory_dot_events": V2,
                "proc__vmstat": MACHINE,
            },
            4,
        ),
        (
            {
                "proc__self__cgroup": "9:name=systemd:/\n4:cpu,memory:/a\n0::/\n",
                "sys__fs__cgroup__memory__a__memory_dot_oom_control": V1,
                "proc__vmstat": MACHINE,
            },
            6,
        ),
        (
            {
                "proc__self__cgroup": "4:memory:/the/host's/path\n",
                "sys__fs__cgroup__memory__memory_dot_oom_control": V1,
            },
            6,
        ),
        ({"proc__self__cgroup": "0::/../host\n", "sys__fs__cgroup__memory_dot_events": V2}, 4),
        # The root group of a machine counts nothing of its own.
        ({"proc__self__cgroup": "0::/\n", "proc__vmstat": MACHINE}, 8),
        ({"proc__vmstat": "pgfault 12\n"}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_kernels_count_is_read_from_the_nearest_place(tmp_path, texts, count):
    assert oom_kills(files(tmp_path, **texts)) == count


def test_this_system_can_be_asked():
    assert oom_kills() is None or oom_kills() >= 0
