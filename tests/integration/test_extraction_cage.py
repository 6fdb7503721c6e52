import os
import signal
import sys
import time
from pathlib import Path

import pytest

from jobs.extraction import Limits, cage, children, memory
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.progress import Progress

MIB = 1024**2
elders: set[int] = set()
LIMITS = Limits(memory_bytes=300 * MIB, cpu_seconds=2, file_bytes=4 * MIB, result_bytes=2 * MIB)
PRELUDE = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from jobs.extraction.confine import confine
from jobs.extraction.result import Limits
scratch, pipe, parent = sys.argv[-3], int(sys.argv[-2]), int(sys.argv[-1])
request = json.load(open("request.json"))
confine(Limits(**request["limits"]), parent)
def answer(value):
    with open("result.json", "w") as file:
        json.dump(value, file)
    os._exit(0)
def leave(text):
    with open("result.json", "w") as file:
        file.write(text)
    os._exit(0)
def tell(share):
    os.write(pipe, b"%f\\n" % share)
"""


def run(code, *, seconds=20.0, limits=LIMITS, on_progress=None):
    program = (sys.executable, "-I", "-c", PRELUDE + code, str(children.PROJECT_ROOT))
    answer, usage = cage.run(
        {"limits": limits.to_json()},
        limits=limits,
        seconds=seconds,
        on_progress=on_progress or (lambda share: None),
        program=program,
    )
    return answer, usage


@pytest.fixture(autouse=True)
def _nothing_stays_behind(tmp_path, monkeypatch):
    """Every test leaves no child, no scratch folder and no open descriptor."""
    monkeypatch.setattr(cage.tempfile, "tempdir", str(tmp_path))
    open_before = _open_descriptors()
    # The servers that other tests share are children of this process too.
    elders.clear()
    elders.update(_children())
    yield
    assert list(tmp_path.glob("extraction-*")) == []
    assert _open_descriptors() == open_before
    assert _children() <= elders


@pytest.mark.parametrize(
    ("code", "expected", "detail"),
    [
        ("b = [bytearray(8 << 20) for _ in range(10_000)]", FaultCode.LIMIT_MEMORY, ""),
        ("while True: pass", FaultCode.LIMIT_TIME, ""),
        ("os.kill(os.getpid(), 11)", FaultCode.READER_CRASHED, "signal 11"),
        ("os.abort()", FaultCode.READER_CRASHED, "signal 6"),
        ("os._exit(3)", FaultCode.READER_CRASHED, "exit status 3"),
        ("os._exit(0)", FaultCode.READER_CRASHED, "no valid result"),
        ("leave('[' * 100_000)", FaultCode.READER_CRASHED, "no valid result"),
        ("leave('[]')", FaultCode.READER_CRASHED, "no valid result"),
        ("leave('{\"a\": NaN}')", FaultCode.READER_CRASHED, "no valid result"),
        ("leave(' ' * (3 << 20))", FaultCode.READER_CRASHED, "no valid result"),
        ("os.symlink('/etc/hosts', 'result.json'); os._exit(0)", FaultCode.READER_CRASHED, "no valid result"),
    ],
)  # fmt: skip
def test_each_way_of_misbehaving_ends_in_its_own_fault(code, expected, detail):
    with pytest.raises(Fault) as caught:
        run(code)
    assert (caught.value.code, caught.value.detail) == (expected, detail)


def test_memory_of_descendants_counts():
    code = "os.fork(); b = [bytearray(8 << 20) for _ in range(25)]; time.sleep(30)"
    with pytest.raises(Fault) as caught:
        run(code)
    assert caught.value.code is FaultCode.LIMIT_MEMORY


def test_a_sleeper_is_killed_at_the_wall_clock_limit_with_its_whole_group():
    started = time.monotonic()
    pids = []
    code = "p = os.fork(); tell(0.5) if p else None; time.sleep(60)"
    with pytest.raises(Fault) as caught:
        run(code, seconds=1.0, on_progress=lambda share: pids.extend(_group_members()))
    assert caught.value.code is FaultCode.LIMIT_TIME
    assert time.monotonic() - started < 5
    assert len(set(pids)) == 2
    _assert_gone(pids)


@pytest.mark.parametrize(
    "code",
    [
        "\nwith open('big', 'wb') as f:\n for _ in range(100): f.write(bytes(1 << 20))",
        "\nfor n in range(1000): os.dup(0)",
    ],
)
def test_files_and_descriptors_are_bounded(code):
    wrapped = (
        f"\ntry:\n exec({code!r})\nexcept OSError as error:\n os.closerange(64, 256)\n"
        " answer({'errno': error.errno})\nanswer({})"
    )
    answer, _usage = run(wrapped)
    assert answer["errno"] in {24, 27}  # EMFILE, EFBIG


def test_endless_and_lying_progress_neither_blocks_nor_goes_backwards():
    shares = []
    code = (
        "for n in range(20_000): tell(n / 20_000)\n"
        "os.write(pipe, b'nan\\n-5\\n9e99\\nx' * 1000)\ntime.sleep(0.2)\ntell(0.3)\nanswer({})"
    )
    assert run(code, on_progress=shares.append)[0] == {}
    assert shares == sorted(shares)
    assert all(0 <= at.share <= 1 for at in shares)


def test_pages_that_cannot_be_or_go_backwards_are_not_told():
    told = []
    lines = (
        "0.1 1 4 2",
        "0.2 9 4 2",
        "0.2 -1 4 2",
        "0.2 2 4 x",
        "0.2 0 4 2",
        "0.2 2 99999999 2",
        "0.3 2 4 3",
    )
    code = "\n".join(f"os.write(pipe, {line.encode()!r} + b'\\n'); time.sleep(0.1)" for line in lines)
    run(code + "\nanswer({})", on_progress=told.append)
    assert told == [Progress(0.1, 1, 4, 2), Progress(0.3, 2, 4, 3)]


def test_a_silent_child_still_makes_the_parent_look_up_every_second():
    beats = []
    run("time.sleep(2.5); answer({})", on_progress=beats.append)
    assert len(beats) >= 2
    assert {at.share for at in beats} == {0.0}


class Stop(Exception):
    pass


def test_an_exception_of_the_caller_kills_the_child_and_passes_through():
    pids = []

    def stop(_share):
        pids.extend(_group_members())
        raise Stop

    with pytest.raises(Stop):
        run("p = os.fork(); tell(0.1) if p else None; time.sleep(60)", on_progress=stop)
    assert len(pids) == 2
    _assert_gone(pids)


def test_a_job_timeout_that_strikes_in_the_wait_kills_the_child():
    def strike(_number, _frame):
        raise Stop

    previous = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(Stop):
            run("time.sleep(60)")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_the_child_inherits_no_secret_no_descriptor_and_no_terminal(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    code = (
        "import resource\n"
        "fds = {int(f): os.readlink(f'/proc/self/fd/{f}') for f in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{f}') or int(f) == pipe}\n"
        "status = open('/proc/self/status').read()\n"
        "answer({'environ': dict(os.environ), 'fds': fds, 'cwd': os.getcwd(),"
        " 'sid': os.getsid(0) == os.getpid(), 'status': status,"
        " 'core': resource.getrlimit(resource.RLIMIT_CORE)[0]})"
    )
    try:
        answer, _usage = run(code)
    finally:
        os.close(descriptor)
    assert set(answer["environ"]) <= {
        "PATH", "LANG", "LC_CTYPE", "HOME", "TMPDIR", "TESSDATA_PREFIX", "HF_HUB_OFFLINE",
        "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE",
    }  # fmt: skip
    assert "secret" not in str(answer)
    targets = [target for target in answer["fds"].values() if target != "/dev/null"]
    assert len(targets) == 1
    assert targets[0].startswith("pipe:")
    assert Path(answer["cwd"]).name.startswith("extraction-")
    assert answer["sid"]
    assert answer["core"] == 0
    assert "NoNewPrivs:\t1" in answer["status"]


def test_the_child_dies_with_its_parent():
    reading, writing = os.pipe()
    middle = os.fork()
    if middle == 0:  # this process plays the work horse and is killed below
        try:
            os.close(reading)
            run("tell(0.5)\ntime.sleep(60)", on_progress=lambda at: _write_group(writing, at.share))
        finally:
            os._exit(1)
    os.close(writing)
    try:
        pids = [int(word) for word in os.read(reading, 100).split()]
        os.kill(middle, signal.SIGKILL)
        os.waitpid(middle, 0)
        assert len(pids) == 1
        _assert_gone(pids)
    finally:
        os.close(reading)
    for scratch in Path(cage.tempfile.gettempdir()).glob("extraction-*"):
        cage.shutil.rmtree(scratch)


def test_a_machine_that_cannot_start_a_child_is_told_as_such(monkeypatch):
    def fail(*_args, **_kwargs):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(children.subprocess, "Popen", fail)
    with pytest.raises(Fault) as caught:
        run("answer({})")
    assert caught.value.code is FaultCode.ENVIRONMENT


def test_the_peak_of_memory_is_measured():
    _answer, usage = run("b = bytearray(100 << 20); time.sleep(0.3); answer({})")
    assert 100 * MIB < usage.peak_bytes < 200 * MIB


def _open_descriptors():
    """Return the open descriptors, without the one that the listing itself needs."""
    return {link.name for link in Path("/proc/self/fd").iterdir() if link.exists()}


def _write_group(descriptor, share):
    if share:
        os.write(descriptor, " ".join(map(str, _group_members())).encode())


def _group_members():
    """Return the children and grandchildren that a test has made."""
    made = _children() - elders
    return [pid for child in made for pid in (child, *memory._descendants(child))]


def _children():
    """Return this process's own children, zombies included."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for listed in lists for pid in listed.read_text().split()}


def _assert_gone(pids):
    """Wait until none of these runs: the kernel kills at once, yet not within the same call."""
    deadline = time.monotonic() + 5
    while any(_is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("make", ["os.mkfifo('result.json')", "os.mkdir('result.json')"])
def test_a_result_that_is_no_file_holds_nobody_up(make):
    with pytest.raises(Fault) as caught:
        run(f"{make}; os._exit(0)")
    assert (caught.value.code, caught.value.detail) == (FaultCode.READER_CRASHED, "no valid result")
