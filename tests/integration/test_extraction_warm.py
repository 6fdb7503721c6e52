"""Children of the fork server are held to what children started as programs are held to.

A reader called ``wild``, which only these tests know, runs the file name as code inside the child.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs import peak_memory
from jobs.errors import Permanent
from jobs.extraction import Limits, OcrSetup, ReadOptions, cage, extract, memory, prepare, warm
from jobs.extraction.children import PROJECT_ROOT
from jobs.extraction.confine import hide_from_others
from jobs.extraction.faults import Fault, FaultCode
from jobs.peak_memory import PeakMemory
from tests.support.corpus import CORPUS, needs_corpus
from tests.support.servers import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server is for Linux only")

MIB = 1024**2
LIMITS = Limits(
    memory_bytes=300 * MIB,
    address_headroom_bytes=1024 * MIB,
    cpu_seconds=2,
    file_bytes=4 * MIB,
    result_bytes=2 * MIB,
)
_WILD = """
import sys
sys.path.insert(0, sys.argv[1])
import os, time, types
from jobs.extraction.reading import Reading
def read(source):
    found = {}
    exec(source.filename, {"source": source, "found": found, "os": os, "sys": sys, "time": time})
    return Reading(markdown="", engine="wild", metadata=found)
wild = types.ModuleType("jobs.extraction.readers.wild")
wild.read = read
sys.modules[wild.__name__] = wild
from jobs.extraction import child
from jobs.extraction.confine import CageLevel
# As on a machine that has limits only: what the cage does there must hold by itself.
child.shut_in = lambda document, scratch, models: CageLevel.LIMITS
from jobs.extraction.%s import main
main()
"""
COLD = (sys.executable, "-I", "-c", _WILD % "child", str(PROJECT_ROOT))
SERVER = (sys.executable, "-I", "-c", _WILD % "zygote", str(PROJECT_ROOT))
WARM = None
BOTH = pytest.mark.parametrize("program", [COLD, WARM], ids=["cold", "warm"])
SLEEPS = "source.report(0.5); time.sleep(60)"
FORKS_AND_SLEEPS = "p = os.fork(); p and source.report(0.5); time.sleep(60)"
TELLS_PARENT = "found['parent'] = os.getppid()"


def run(code, *, program=WARM, limits=LIMITS, seconds=20.0, on_progress=None):
    request = {
        "path": "/dev/null",
        "filename": code,
        "media_type": "text/plain",
        "reader": "wild",
        "seconds": seconds,
        "limits": limits.to_json(),
        "options": ReadOptions().to_json(),
        "ocr": OcrSetup().to_json(),
    }
    answer, usage = cage.run(
        request,
        limits=limits,
        seconds=seconds,
        on_progress=on_progress or (lambda share: None),
        program=program,
    )
    if "fault" in answer:
        raise Fault(FaultCode(answer["fault"]), note=answer["note"])
    return answer["extraction"]["metadata"], usage


@pytest.fixture(scope="module", autouse=True)
def _no_server_outlives_these_tests():
    warm.stop()
    yield
    warm.stop()
    warm._owner._begin()


@pytest.fixture(autouse=True)
def _server(tmp_path, monkeypatch):
    """Every test has a fork server that knows the wild reader, and leaves nothing else behind."""
    monkeypatch.setattr(cage.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(warm, "PROGRAM", SERVER)
    warm._owner._failed_starts = 0
    assert prepare(30)
    # What tests of other modules left to be collected would otherwise be closed in the middle.
    gc.collect()
    server, descriptor_count = warm._owner._current, len(open_descriptors())
    elders = own_children() - {server.pid}
    yield
    if warm._owner._current is not server:
        warm.stop()
    is_kept = warm._owner._current is not None
    assert list(tmp_path.glob("extraction-*")) == []
    assert len(open_descriptors()) == descriptor_count - (not is_kept)
    assert own_children() - elders == ({server.pid} if is_kept else set())


def server_pid():
    return warm._owner._current.pid


# The same causes.


@BOTH
@pytest.mark.parametrize(
    ("code", "expected", "detail"),
    [
        ("b = [bytearray(8 << 20) for _ in range(10_000)]", FaultCode.LIMIT_MEMORY, ""),
        ("os.fork(); b = [bytearray(8 << 20) for _ in range(25)]; time.sleep(9)", FaultCode.LIMIT_MEMORY, ""),
        ("b = bytearray(4 << 30)", FaultCode.LIMIT_MEMORY, ""),
        ("while True: pass", FaultCode.LIMIT_TIME, ""),
        ("time.sleep(60)", FaultCode.LIMIT_TIME, ""),
        ("open('big', 'wb').write(bytes(8 << 20))", FaultCode.LIMIT_OUTPUT, ""),
        ("found['text'] = 'x' * (3 << 20)", FaultCode.READER_CRASHED, "no valid result"),
        ("os.kill(os.getpid(), 11)", FaultCode.READER_CRASHED, "signal 11"),
        ("import ctypes; ctypes.string_at(0)", FaultCode.READER_CRASHED, "signal 11"),
        ("os.abort()", FaultCode.READER_CRASHED, "signal 6"),
        ("os.kill(os.getpid(), 9)", FaultCode.READER_CRASHED, "signal 9"),
        ("os._exit(3)", FaultCode.READER_CRASHED, "exit status 3"),
        ("os._exit(0)", FaultCode.READER_CRASHED, "no valid result"),
        ("sys.exit(0)", FaultCode.UNREADABLE, ""),
        ("raise KeyboardInterrupt", FaultCode.UNREADABLE, ""),
    ],
)  # fmt: skip
def test_a_child_s_end_is_told_by_the_same_cause_however_it_was_started(program, code, expected, detail):
    seconds = 0.7 if "sleep(60)" in code else 20.0
    with pytest.raises(Fault) as caught:
        run(code, program=program, seconds=seconds)
    assert (caught.value.code, caught.value.detail) == (expected, detail)
    if program is WARM:
        assert run(TELLS_PARENT)[0]["parent"] == server_pid()


def test_the_address_space_of_a_document_is_the_same_however_it_was_started():
    code = (
        "import mmap\nkept = []\n"
        "try:\n while True: kept.append(mmap.mmap(-1, 16 << 20))\n"
        "except (OSError, MemoryError): found['mapped'] = len(kept) * (16 << 20)"
    )
    allowed = LIMITS.memory_bytes + LIMITS.address_headroom_bytes
    for program in (COLD, WARM):
        mapped = run(code, program=program)[0]["mapped"]
        assert allowed - 64 * MIB < mapped <= allowed


@BOTH
def test_the_peak_of_memory_is_measured_even_when_it_is_short(program):
    _found, usage = run(
        "b = bytearray(100 << 20)" + ("; time.sleep(0.2)" * (program is COLD)), program=program
    )
    assert 100 * MIB < usage.peak_bytes < 250 * MIB


@BOTH
def test_the_peak_is_that_of_the_child_alone_and_is_noted_for_the_attempt(program, monkeypatch):
    monkeypatch.setattr(peak_memory, "_own_peak", lambda: 1)
    attempt = PeakMemory()
    attempt.begin()
    assert attempt.so_far() == 1
    _found, usage = run("b = bytearray(150 << 20); time.sleep(0.2)", program=program)
    assert attempt.so_far() == usage.peak_bytes > 150 * MIB
    attempt.begin()
    _found, usage = run("time.sleep(0.2)", program=program)
    assert 1 < attempt.so_far() == usage.peak_bytes < 100 * MIB
    with pytest.raises(Fault):
        run("b = [bytearray(8 << 20) for _ in range(10_000)]", program=program)
    assert attempt.so_far() > 200 * MIB


@BOTH
def test_a_sigterm_to_every_process_lets_the_document_be_finished(program):
    def stop(share):
        if share:
            for pid in (server_pid(), *family(os.getpid())):
                # A helper of another test may have ended since.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    first = server_pid()
    code = "source.report(0.5); time.sleep(1); found['is_done'] = True"
    assert run(code, program=program, on_progress=stop)[0]["is_done"]
    assert run(TELLS_PARENT)[0]["parent"] == server_pid() == first


def test_a_process_that_ends_while_its_memory_is_looked_at_has_none(monkeypatch):
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    os.waitpid(pid, 0)
    watch = memory.MemoryWatch(pid)
    assert (watch.sample(), watch.peak_bytes) == (0, 0)


# The same results.


@needs_corpus
@pytest.mark.parametrize(
    "name",
    ["multi-column-2p.pdf", "textbox.docx", "xlsx_02_sample_sales_data.xlsm", "pptx_chart.pptx",
     "testRTF.rtf", "fake-email-with-cc-and-bcc.msg", "fake-html-cp1252.html", "csv-pipe.csv",
     "_ude_euc1.txt", "bmp_24.bmp", "test_llm.jpg", "testPages2013.pages",
     "testVISIO.vsdx", "test.epub", "DA-1p.heic"],
)  # fmt: skip
def test_a_document_is_read_alike_however_its_reader_was_started(name, monkeypatch):
    path = CORPUS / "typical" / name
    warmly = extract(path, filename=name, limits=Limits())
    with monkeypatch.context() as without_server:
        without_server.setattr(warm._owner, "take", None)
        coldly = extract(path, filename=name, limits=Limits(), warm=False)
    for found in (warmly, coldly):
        del found.metadata["extraction_seconds"], found.metadata["peak_memory_bytes"]
    assert warmly == coldly


# What a child, and the server, can see.


def test_a_child_sees_no_secret_no_socket_and_nothing_of_the_server(monkeypatch, tmp_path):
    code = (
        "def target(link):\n"
        " try: return os.readlink('/proc/self/fd/' + link)\n"
        " except OSError: return ''\n"
        "found['fds'] = [target(link) for link in os.listdir('/proc/self/fd')]\n"
        "found['environ'] = sorted(os.environ.items()).__repr__()\n"
        "found['seen'] = open('/proc/self/environ').read()\n"
        "import tempfile; found['temp'] = tempfile.gettempdir()\n"
        "found['cwd'], found['leads'] = os.getcwd(), os.getsid(0) == os.getpid() == os.getpgid(0)\n"
        "found['status'] = open('/proc/self/status').read()\n"
        "found['oom'] = open('/proc/self/oom_score_adj').read().strip()\n"
        "found['parent'] = os.getppid()"
    )
    found, _usage = run(code)
    cold, _usage = run(code, program=COLD)
    assert [target.partition(":")[0] for target in found["fds"] if target not in {"", "/dev/null"}] == [
        "pipe"
    ]
    assert found["environ"].replace(found["cwd"], "") == cold["environ"].replace(cold["cwd"], "")
    assert found["temp"] == found["cwd"] != cold["cwd"]
    assert Path(found["cwd"]).name.startswith("extraction-")
    assert found["leads"]
    assert found["oom"] == "1000"
    assert "NoNewPrivs:\t1" in found["status"]
    assert found["parent"] == server_pid()


def test_the_server_holds_nothing_of_its_owner_and_has_one_thread(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    warm.stop()
    left, right = socket.socketpair()
    with left, right:
        for descriptor in (left.fileno(), right.fileno()):
            os.set_inheritable(descriptor, True)
        assert prepare(30)
        run("pass")
        server = Path(f"/proc/{server_pid()}")

        def targets():
            return sorted(str(link.readlink()).partition(":")[0] for link in (server / "fd").iterdir())

        # The child's line is closed a moment after its end was told.
        wait_until(lambda: targets() == ["/dev/null"] * 3 + ["anon_inode", "socket"])
        assert b"secret" not in (server / "environ").read_bytes()
        assert len(list((server / "task").iterdir())) == 1
        assert int((server / "oom_score_adj").read_text()) < 1000
        assert os.getsid(server_pid()) == server_pid()


def test_a_child_does_not_see_the_lines_of_children_that_run_beside_it():
    with ThreadPoolExecutor(1) as pool, beside(pool, "time.sleep(1.5)"):
        found, _usage = run("found['fds'] = len(os.listdir('/proc/self/fd')) - 1")
    assert found["fds"] == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="another user can be played by root only")
@pytest.mark.parametrize("is_hidden", [True, False])
def test_a_fork_cannot_reach_into_a_server_that_hides(is_hidden):
    def opens(pid):
        try:
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
        except OSError:
            return False
        return True

    def work(writing):
        # For root no door is closed.
        os.setgid(65_534)
        os.setuid(65_534)
        hide_from_others(is_hidden)
        if os.fork() == 0:
            hide_from_others(False)
            Path("/proc/self/oom_score_adj").write_text("1000")
            os.write(writing, json.dumps([opens(os.getppid()), opens(os.getpid())]).encode())
            os._exit(0)
        os.wait()

    with forked(work) as (_pid, reading):
        assert json.loads(os.read(reading, 100)) == [not is_hidden, True]


def test_every_engine_is_imported_before_the_fork_and_none_is_used():
    names = (
        "xberg liteparse._liteparse pypdfium2 pypdf tesserocr PIL.Image pillow_heif fasttext "
        "charset_normalizer"
    )
    found, _usage = run(
        f"found['missing'] = sorted(set({names!r}.split()) - set(sys.modules))\n"
        "found['threads'] = len(os.listdir('/proc/self/task'))"
    )
    assert (found["missing"], found["threads"]) == ([], 1)


# Ends of servers, of owners and of readings.


def test_a_server_killed_in_a_document_is_a_transient_fault_and_the_next_document_is_read():
    first, pids = server_pid(), []

    def strike(share):
        if share:
            pids.extend(family(first))
            os.kill(first, signal.SIGKILL)

    with pytest.raises(Fault) as caught:
        run(FORKS_AND_SLEEPS, on_progress=strike)
    assert caught.value.code is FaultCode.ENVIRONMENT
    assert caught.value.note == "the fork server died"
    assert len(pids) == 2
    assert_gone([first, *pids])
    assert run(TELLS_PARENT)[0]["parent"] == server_pid() != first


def test_a_document_that_kills_its_server_fails_alone():
    first = server_pid()
    with pytest.raises(Fault) as caught:
        run("os.kill(os.getppid(), 9); time.sleep(60)")
    assert caught.value.code is FaultCode.ENVIRONMENT
    assert run(TELLS_PARENT)[0]["parent"] == server_pid() != first


def test_a_server_that_is_dead_or_deaf_before_a_document_is_replaced(monkeypatch):
    first = server_pid()
    os.kill(first, signal.SIGKILL)
    assert run(TELLS_PARENT)[0]["parent"] == server_pid() != first
    monkeypatch.setattr(warm, "_START_SECONDS", 3.0)
    second = server_pid()
    os.kill(second, signal.SIGSTOP)
    beats = []
    monkeypatch.setattr(cage, "_HEARTBEAT_SECONDS", 0.1)
    assert run("time.sleep(0.3); " + TELLS_PARENT, on_progress=beats.append)[0]["parent"] not in {
        first,
        second,
    }
    assert_gone([first, second])
    assert len(beats) > 3


def test_a_server_that_goes_deaf_in_a_document_is_killed_with_it(monkeypatch):
    monkeypatch.setattr(warm, "_END_SECONDS", 0.3)
    first, pids = server_pid(), []

    def stop(share):
        if share and not pids:
            pids.extend(family(first))
            os.kill(first, signal.SIGSTOP)

    with pytest.raises(Fault) as caught:
        run(FORKS_AND_SLEEPS, on_progress=stop, seconds=1.0)
    assert caught.value.code is FaultCode.LIMIT_TIME
    assert_gone([first, *pids])
    assert run(TELLS_PARENT)[0]["parent"] == server_pid() != first


def test_nothing_outlives_an_owner_that_is_killed():
    def work(writing):
        def tell(share):
            if share:
                pids = [server_pid(), *family(server_pid())]
                os.write(writing, " ".join(map(str, pids)).encode())

        prepare(30)
        run(FORKS_AND_SLEEPS, on_progress=tell)

    with forked(work) as (owner, reading):
        pids = [int(word) for word in os.read(reading, 100).split()]
        os.kill(owner, signal.SIGKILL)
        assert len(pids) == 3
        assert_gone(pids, seconds=1.0)
    for scratch in Path(cage.tempfile.gettempdir()).glob("extraction-*"):
        cage.shutil.rmtree(scratch)


def test_nothing_outlives_an_owner_that_is_killed_while_its_server_starts():
    def work(writing):
        prepare()
        os.write(writing, str(server_pid()).encode())
        time.sleep(60)

    with forked(work) as (owner, reading):
        pid = int(os.read(reading, 100))
        os.kill(owner, signal.SIGKILL)
        assert_gone([pid], seconds=1.0)


class Stop(Exception):
    pass


def test_an_exception_of_the_caller_kills_the_child_and_its_group_before_it_passes_on():
    pids = []

    def stop(share):
        if share:
            pids.extend(family(server_pid()))
            raise Stop

    with pytest.raises(Stop):
        run(FORKS_AND_SLEEPS, on_progress=stop)
    assert len(pids) == 2
    assert not any(is_running(pid) for pid in pids[:1])
    assert_gone(pids)
    assert family(server_pid()) == []


def test_what_a_child_leaves_running_is_killed_when_it_ends():
    run("p = os.fork()\nif p == 0: time.sleep(60)")
    assert family(server_pid()) == []


def test_the_end_of_a_child_is_noticed_at_once(monkeypatch):
    monkeypatch.setattr(cage, "_TICK_SECONDS", 30.0)
    started = time.monotonic()
    for program in (WARM, COLD):
        run("p = os.fork()\nif p == 0: os.setsid(); time.sleep(3); os._exit(0)", program=program)
    assert time.monotonic() - started < 3


# Many at once, and other processes.


def test_threads_share_a_server_and_do_not_wait_for_each_other():
    started = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        found = [run_ for run_, _usage in pool.map(run, ["time.sleep(1); " + TELLS_PARENT] * 6)]
    assert {one["parent"] for one in found} == {server_pid()}
    assert time.monotonic() - started < 4


def test_an_end_in_one_thread_does_not_touch_another():
    with ThreadPoolExecutor(1) as pool, beside(pool, "time.sleep(1.5); " + TELLS_PARENT) as other:
        for code in ("os.kill(os.getpid(), 11)", "os.kill(0, 9)", "os.fork(); os.killpg(0, 9)"):
            with pytest.raises(Fault):
                run(code)
    assert other.result()[0]["parent"] == server_pid()


def test_a_forked_process_starts_a_server_of_its_own():
    requests = str(Path(f"/proc/self/fd/{warm._owner._current._requests.fileno()}").readlink())

    def work(writing):
        held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        assert prepare(30)
        told = {"held": held, "server": server_pid(), "parent": run(TELLS_PARENT)[0]["parent"]}
        os.write(writing, json.dumps(told).encode())
        warm.stop()

    with ThreadPoolExecutor(1) as pool, beside(pool, "time.sleep(1.5); " + TELLS_PARENT) as other:
        with forked(work) as (_middle, reading):
            told = json.loads(os.read(reading, 65_536))
        assert requests not in told["held"]
        assert told["parent"] == told["server"] != server_pid()
    assert other.result()[0]["parent"] == server_pid()


def test_a_server_is_replaced_after_so_many_forks_without_harm_to_its_last_children(monkeypatch):
    monkeypatch.setattr(warm, "_MOST_FORKS", warm._owner._current.fork_count + 2)
    first = server_pid()
    with ThreadPoolExecutor(1) as pool, beside(pool, "time.sleep(1); " + TELLS_PARENT) as other:
        parents = [run(TELLS_PARENT)[0]["parent"] for _ in range(2)]
        assert parents[0] == first
        assert parents[1] != first
    assert other.result()[0]["parent"] == first
    assert_gone([first])


def test_a_server_that_grows_is_replaced(monkeypatch):
    run("pass")
    first = server_pid()
    monkeypatch.setattr(warm, "_MOST_GROWTH_BYTES", -1)
    run("pass")
    monkeypatch.undo()
    monkeypatch.setattr(warm, "PROGRAM", SERVER)
    assert_gone([first])


# Where there is no server.


def test_without_preparation_the_first_document_of_a_process_is_read_without_a_server(tmp_path):
    broken = tmp_path / "a.pdf"
    broken.write_bytes(b"%PDF-1.7 and nothing else")
    warm.stop()
    warm._owner._begin()
    with pytest.raises(Permanent):
        extract(broken, filename="a.pdf", limits=Limits())  # by one reader after the other
    assert warm._owner._current is None
    with pytest.raises(Permanent):
        extract(broken, filename="a.pdf", limits=Limits())
    assert warm._owner._current is not None
    warm.stop()
    warm._owner._begin()
    assert [warm.is_wanted() for _ in range(3)] == [False, True, True]
    assert warm._owner._current is None
    assert prepare(30)
    assert warm.is_wanted()


@pytest.mark.parametrize("command", ["import os; os._exit(1)", "import time; time.sleep(60)"])
def test_a_machine_that_cannot_have_a_server_reads_all_the_same(monkeypatch, tmp_path, caplog, command):
    warm.stop()
    monkeypatch.setattr(warm, "PROGRAM", (sys.executable, "-I", "-S", "-c", command))
    monkeypatch.setattr(warm, "_START_SECONDS", 0.3)
    path = tmp_path / "a.txt"
    path.write_text("Some words.")
    for _ in range(3):
        assert extract(path, filename="a.txt", limits=Limits()).text == "Some words."
    assert not warm.is_wanted()
    assert not prepare(1)
    assert sum("fork_server_never_answered" in message for message in caplog.messages) == 3


def test_without_a_way_to_watch_processes_children_are_programs(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "pidfd_open")
    path = tmp_path / "a.txt"
    path.write_text("Some words.")
    assert not prepare()
    assert extract(path, filename="a.txt", limits=Limits()).text == "Some words."
    with pytest.raises(Fault):
        run("os._exit(3)", program=COLD)


def test_a_server_that_cannot_be_started_now_is_no_failure_of_prepare_nor_of_a_document(
    monkeypatch, tmp_path
):
    path = tmp_path / "a.txt"
    path.write_text("Some words.")
    warm.stop()
    with monkeypatch.context() as without_program:
        without_program.setattr(warm, "PROGRAM", (str(tmp_path / "nothing"),))
        assert not prepare()
        assert extract(path, filename="a.txt", limits=Limits()).text == "Some words."


def test_preparing_returns_at_once_and_costs_nothing_twice():
    warm.stop()
    started = time.monotonic()
    assert prepare()
    assert time.monotonic() - started < 0.2
    first = server_pid()
    assert prepare(30)
    assert server_pid() == first
    assert run(TELLS_PARENT)[0]["parent"] == first


# What the tests need.


class beside:  # noqa: N801 - reads as a word of the test
    """Runs code in a child of another thread for the time of a ``with`` block."""

    def __init__(self, pool, code):
        self._pool, self._code = pool, code
        self._started = threading.Event()

    def __enter__(self):
        def heard(share):
            if share:
                self._started.set()

        future = self._pool.submit(run, "source.report(0.1); " + self._code, on_progress=heard)
        assert self._started.wait(10)
        return future

    def __exit__(self, *_error):
        pass


@contextlib.contextmanager
def forked(work):
    """Run a function in a fork of this process; yield its id and a pipe from it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            work(writing)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        yield pid, reading
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def open_descriptors():
    """Return the open descriptors, without the one that the listing itself needs."""
    return {link.name for link in Path("/proc/self/fd").iterdir() if link.exists()}


def own_children():
    lists = Path("/proc/self/task").glob("*/children")
    return {int(pid) for listed in lists for pid in listed.read_text().split()}


def family(pid):
    return memory._descendants(pid)


def assert_gone(pids, *, seconds=5.0):
    deadline = time.monotonic() + seconds
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
