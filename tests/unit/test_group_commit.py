"""Many threads, one write: who goes along, and who is told what went wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.group_commit import MOST_MEMBERS, GroupCommit
from tests.support.servers import wait_until


class Shared(Exception):
    """Nobody's own fault."""


class Writer:
    """Writes numbers; holds its first group until it is let go."""

    def __init__(self):
        self.groups, self.told = [], []
        self.begun, self.go = threading.Event(), threading.Event()
        self.wrong = {}
        self.commits = GroupCommit(self.write, self.told.append, (Shared,))

    def write(self, numbers):
        self.groups.append(list(numbers))
        if not self.begun.is_set():
            self.begun.set()
            assert self.go.wait(30)
        for number in numbers:
            if number in self.wrong:
                raise self.wrong[number]
        return [number * 10 for number in numbers]

    def submit_all(self, count):
        """Submit 0, and everything else while 0 is being written; return results and errors in order."""

        def submit(number):
            try:
                return self.commits.submit(number)
            except Exception as error:  # noqa: BLE001
                return error

        with ThreadPoolExecutor(count) as pool:
            first = pool.submit(submit, 0)
            assert self.begun.wait(30)
            others = []
            for number in range(1, count):
                others.append(pool.submit(submit, number))
                wait_until(lambda: len(self.commits._waiting) == len(others), 30)
            self.go.set()
            return [one.result(30) for one in (first, *others)]


def test_one_alone_is_a_group():
    writer = Writer()
    writer.go.set()
    assert [writer.commits.submit(number) for number in (1, 2)] == [10, 20]
    assert writer.groups == [[1], [2]]
    assert writer.told == [[10], [20]]


def test_those_who_come_meanwhile_go_with_the_next():
    writer = Writer()
    assert writer.submit_all(6) == [0, 10, 20, 30, 40, 50]
    assert writer.groups == [[0], [1, 2, 3, 4, 5]]
    assert writer.told == [[0], [10, 20, 30, 40, 50]]


def test_a_group_has_an_end():
    writer = Writer()
    count = MOST_MEMBERS + 3
    assert writer.submit_all(count) == [number * 10 for number in range(count)]
    assert [len(group) for group in writer.groups] == [1, MOST_MEMBERS, 2]


def test_nobody_is_refused_for_anothers_sake():
    writer = Writer()
    writer.wrong[2] = ValueError("mine")
    assert writer.submit_all(4) == [0, 10, writer.wrong[2], 30]
    assert writer.groups == [[0], [1, 2, 3], [1], [2], [3]]
    assert writer.told == [[0], [10, 30]]


def test_what_is_nobodys_own_is_everybodys_and_not_tried_again():
    writer = Writer()
    writer.wrong[2] = Shared()
    assert writer.submit_all(4) == [0, *[writer.wrong[2]] * 3]
    assert writer.groups == [[0], [1, 2, 3]]
    assert writer.told == [[0], []]


def test_another_lane_is_free_while_one_is_busy():
    writer = Writer()
    writer.commits = GroupCommit(writer.write, writer.told.append, (Shared,), lanes=2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(writer.commits.submit, 0)
        assert writer.begun.wait(30)
        assert writer.commits.submit(1) == 10
        writer.go.set()
        assert first.result(30) == 0
    assert writer.groups == [[0], [1]]


def test_after_an_error_the_next_is_written():
    writer = Writer()
    writer.go.set()
    writer.wrong[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        writer.commits.submit(1)
    assert writer.commits.submit(2) == 20
