"""What a document that has taken over its reader can reach: nothing but itself and its scratch folder.

The attacks run in real children, forked and started, after the reader's own code has taken over.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from jobs import extraction
from jobs.errors import ConfigurationError, Transient
from jobs.extraction import CageLevel, Limits, cage, extract, warm
from jobs.extraction.children import PROJECT_ROOT
from jobs.extraction.faults import Fault, FaultCode
from jobs.extraction.ocr_setup import OcrSetup
from jobs.extraction.options import ReadOptions
from jobs.settings import Settings, load_settings
from jobs.worker_pool import require_cage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is for Linux only")

LIMITS = Limits(cpu_seconds=10)
_WILD = """
import sys
sys.path.insert(0, sys.argv[1])
import ctypes, os, signal, socket, threading, time, types
from jobs.extraction.reading import Reading
def read(source):
    found = {}
    def attempt(name, act):
        try:
            found[name] = str(act())
        except BaseException as error:
            found[name] = type(error).__name__
    libc = ctypes.CDLL(None, use_errno=True)
    def call(*arguments):
        answer = libc.syscall(*arguments)
        if answer < 0:
            raise OSError(ctypes.get_errno(), "refused")
        return answer
    exec(source.filename, {"attempt": attempt, "call": call, "libc": libc, "source": source, "found": found,
        "ctypes": ctypes, "os": os, "signal": signal, "socket": socket, "threading": threading, "time": time})
    return Reading(markdown="", engine="wild", metadata=found)
wild = types.ModuleType("jobs.extraction.readers.wild")
wild.read = read
sys.modules[wild.__name__] = wild
from jobs.extraction.%s import main
main()
"""
COLD = (sys.executable, "-I", "-c", _WILD % "child", str(PROJECT_ROOT))
SERVER = (sys.executable, "-I", "-c", _WILD % "zygote", str(PROJECT_ROOT))


@pytest.fixture(params=[COLD, None], ids=["cold", "warm"])
def attack(request, tmp_path, monkeypatch):
    """Run code in a child that reads a document; return what its attempts came to."""
    document = tmp_path / "document"
    document.write_text("the document")

    def run(code: str, **names: object) -> dict[str, object]:
        lines = [f"{name} = {value!r}" for name, value in names.items()]
        answer, _usage = cage.run(
            {
                "path": str(document),
                "filename": "\n".join([*lines, textwrap.dedent(code)]),
                "media_type": "text/plain",
                "reader": "wild",
                "seconds": 20.0,
                "limits": LIMITS.to_json(),
                "options": ReadOptions().to_json(),
                "ocr": OcrSetup().to_json(),
            },
            limits=LIMITS,
            seconds=20.0,
            on_progress=lambda _share: None,
            program=request.param,
        )
        if "fault" in answer:
            raise Fault(FaultCode(answer["fault"]), note=answer["note"])
        found = answer["extraction"]["metadata"]
        return {name: value for name, value in found.items() if not name.endswith("_count")}

    warm.stop()
    monkeypatch.setattr(warm, "PROGRAM", SERVER)
    # Tests of other modules may have left a process that has given up on servers.
    monkeypatch.setattr(warm._owner, "_failed_starts", 0)
    assert request.param or warm.prepare(30)
    yield run
    warm.stop()


def test_this_machine_shuts_documents_in_as_well_as_can_be():
    assert extraction.cage_level() is CageLevel.SANDBOXED


def test_nothing_is_read_but_the_document(attack, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    found = attack(
        """
        attempt("document", lambda: open(source.path).read())
        for path in (secret, "/etc/passwd", "/etc/shadow", f"/proc/{parent}/environ", f"/proc/{parent}/mem",
                     f"/proc/{os.getppid()}/environ", f"/proc/{os.getppid()}/maps"):
            attempt(path, lambda: open(path, "rb").read(1))
        for path in (folder, "/", "/etc", "/root", "/home", "/tmp", "/proc", "/var", project):
            attempt("list " + path, lambda: os.listdir(path))
        attempt("link", lambda: os.link(secret, "taken"))
        attempt("symlink", lambda: os.symlink(secret, "taken"))
        attempt("exchange", lambda: os.rename(secret, "taken"))
        """,
        secret=str(secret),
        folder=str(tmp_path),
        parent=os.getpid(),
        project=str(PROJECT_ROOT),
    )
    assert found.pop("document") == "the document"
    # What would cross the border of the scratch folder is told as another file system.
    assert {found.pop("link"), found.pop("exchange")} <= {"OSError", "PermissionError"}
    assert set(found.values()) == {"PermissionError"}, found
    assert secret.read_text() == "secret"


def test_nothing_is_written_outside_of_the_scratch_folder(attack, tmp_path):
    before = sorted(tmp_path.iterdir())
    found = attack(
        """
        attempt("scratch", lambda: open("own", "w").write("x") and open("own").read())
        attempt("rename", lambda: os.rename("own", "other"))
        for path in (folder + "/new", str(source.path), "/tmp/docqueue-taken", "/dev/shm/taken", own):
            attempt(path, lambda: open(path, "a"))
        attempt("remove", lambda: os.remove(source.path))
        attempt("truncate", lambda: os.truncate(source.path, 0))
        attempt("folder", lambda: os.mkdir(folder + "/new"))
        attempt("mode", lambda: os.chmod(source.path, 0o777))
        attempt("owner", lambda: os.chown(source.path, 1, 1))
        attempt("attribute", lambda: os.setxattr(source.path, "user.x", b"1"))
        attempt("pipe", lambda: os.mkfifo("pipe"))
        attempt("device", lambda: os.mknod("device", 0o20666, os.makedev(1, 3)))
        """,
        folder=str(tmp_path),
        own=str(PROJECT_ROOT / "jobs" / "model.py"),
    )
    assert (found.pop("scratch"), found.pop("rename")) == ("x", "None")
    assert set(found.values()) == {"PermissionError"}, found
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "document").read_text() == "the document"


def test_nobody_is_called(attack, tmp_path):
    listening = socket.create_server(("127.0.0.1", 0))
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "socket"))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0docqueue-{os.getpid()}")
    for one in (local, abstract):
        one.listen()
    found = attack(
        """
        attempt("tcp", lambda: socket.create_connection(("127.0.0.1", port), 2))
        for path in (local, abstract):
            attempt(path, lambda: socket.socket(socket.AF_UNIX).connect(path))
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
                attempt(f"{family} {kind}", lambda: socket.socket(family, kind))
        attempt("connect", lambda: socket.socketpair()[0].connect(local))
        attempt("bind", lambda: socket.socketpair()[0].bind("here"))
        """,
        port=listening.getsockname()[1],
        local=str(tmp_path / "socket"),
        abstract=f"\0docqueue-{os.getpid()}",
    )
    for one in (listening, local, abstract):
        one.settimeout(0)
        with pytest.raises(BlockingIOError):
            one.accept()
        one.close()
    assert set(found.values()) == {"PermissionError"}, found


def test_no_program_and_no_process_is_started_but_threads_are(attack):
    found = attack(
        """
        attempt("fork", os.fork)
        attempt("vfork", lambda: call(58) if os.uname().machine == "x86_64" else os.fork())
        attempt("exec", lambda: os.execv("/bin/true", ["true"]))
        attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
        attempt("forkpty", os.forkpty)
        attempt("session", os.setsid)
        attempt("group", lambda: os.setpgid(0, 0))
        attempt("memory", lambda: os.execv(f"/proc/self/fd/{os.memfd_create('x')}", ["x"]))
        done = []
        thread = threading.Thread(target=lambda: done.append(1))
        thread.start()
        thread.join()
        attempt("thread", lambda: done)
        """
    )
    assert found.pop("thread") == "[1]"
    assert set(found.values()) == {"PermissionError"}, found
    # os.system tells of a refusal by its status.
    assert attack('attempt("system", lambda: os.system("true"))')["system"] != "0"


def test_no_other_process_is_touched(attack):
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        found = attack(
            """
            for pid in (victim, parent, os.getppid(), -1):
                attempt(f"kill {pid}", lambda: os.kill(pid, signal.SIGKILL))
                attempt(f"look {pid}", lambda: os.kill(pid, 0))
            attempt("group", lambda: os.killpg(0, 0))
            attempt("pidfd", lambda: os.pidfd_open(victim))
            attempt("limit", lambda: __import__("resource").prlimit(victim, 7, (1, 1)))
            attempt("own limit", lambda: __import__("resource").setrlimit(7, (4096, 4096)))
            attempt("trace", lambda: call(101 if os.uname().machine == "x86_64" else 117, 16, victim, 0, 0))
            attempt("own", lambda: os.kill(os.getpid(), 0))
            """,
            victim=sleeper.pid,
            parent=os.getpid(),
        )
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
    assert found.pop("own") == "None"
    # The standard library's word for a limit that may not be raised.
    assert found.pop("own limit") == "ValueError"
    assert set(found.values()) == {"PermissionError"}, found


def test_no_right_is_gained_and_no_bond_is_cut(attack):
    found = attack(
        """
        def control(option, value):
            if libc.prctl(option, value, 0, 0, 0) < 0:
                raise OSError(ctypes.get_errno(), "refused")
        attempt("parent's death", lambda: control(1, 0))
        attempt("visible", lambda: control(4, 1))
        attempt("user", lambda: os.setuid(os.getuid()))
        attempt("group", lambda: os.setgid(os.getgid()))
        numbers = {"unshare": (272, 97), "mount": (165, 40), "chroot": (161, 51), "bpf": (321, 280),
            "perf": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "setns": (308, 268)}
        column = 0 if os.uname().machine == "x86_64" else 1
        for name, pair in numbers.items():
            attempt(name, lambda: call(pair[column], 0, 0, 0, 0, 0))
        for name, number in {"io_uring": 425, "clone3": 435}.items():
            attempt(name, lambda: call(number, 0, 0))
        """
    )
    assert {found.pop("io_uring"), found.pop("clone3")} == {"OSError"}
    assert set(found.values()) == {"PermissionError"}, found


def test_there_is_no_secret_to_be_found(attack, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "the-secret-of-this-test")
    found = attack(
        """
        attempt("environment", lambda: dict(os.environ))
        attempt("own", lambda: open("/proc/self/environ", "rb").read())
        attempt("descriptors", lambda: sorted(int(name) for name in os.listdir("/proc/self/fd")))
        """
    )
    assert "the-secret" not in str(found)
    # Three of /dev/null, the pipe for progress, and the listing itself.
    assert len(str(found["descriptors"]).split(",")) <= 5


def test_nobody_is_written_to_without_a_connection(attack, tmp_path):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "log"))
    listening.setblocking(False)
    found = attack(
        """
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            attempt(f"pair {kind}", lambda: socket.socketpair(socket.AF_UNIX, kind))
            attempt(f"send {kind}", lambda: socket.socketpair(socket.AF_UNIX, kind)[0].sendto(b"x", path))
        one, other = socket.socketpair()
        attempt("stream", lambda: one.sendall(b"own"))
        """,
        path=str(tmp_path / "log"),
    )
    with pytest.raises(BlockingIOError):
        listening.recv(16)
    listening.close()
    assert found.pop("stream") == "None"
    assert set(found.values()) == {"PermissionError"}, found


def test_nothing_of_other_processes_and_files_is_changed(attack, tmp_path):
    sleeper = subprocess.Popen(["sleep", "60"])
    (tmp_path / "document").touch()
    before = (tmp_path / "document").stat().st_mtime_ns
    try:
        found = attack(
            """
            import fcntl
            attempt("affinity", lambda: os.sched_setaffinity(victim, {0}))
            attempt("scheduler", lambda: os.sched_setscheduler(victim, os.SCHED_OTHER, os.sched_param(0)))
            attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, victim, 5))
            attempt("owner of signals", lambda: fcntl.fcntl(0, fcntl.F_SETOWN, victim))
            attempt("time", lambda: os.utime(source.path, (1, 1)))
            attempt("flags", lambda: fcntl.ioctl(open(source.path), 0x40086602, bytes(8)))
            attempt("memory", lambda: os.memfd_create("x"))
            attempt("emptied", lambda: os.close(os.open(source.path, os.O_RDONLY | os.O_TRUNC)))
            """,
            victim=sleeper.pid,
        )
    finally:
        sleeper.kill()
        sleeper.wait()
    assert set(found.values()) == {"PermissionError"}, found
    assert (tmp_path / "document").stat().st_mtime_ns == before
    assert (tmp_path / "document").read_text() == "the document"


def test_a_child_of_an_administrator_has_hardly_a_right(attack):
    found = attack(
        """
        lines = open("/proc/self/status").read().splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        attempt("rights", lambda: int(status["CapEff"], 16) & ~(1 << 2))
        attempt("kept", lambda: int(status["CapPrm"], 16) & ~(1 << 2))
        """
    )
    assert found == {"rights": "0", "kept": "0"}


def test_folders_without_end_are_deleted_with_the_scratch_folder(attack, tmp_path, monkeypatch):
    monkeypatch.setattr(cage.tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    found = attack(
        """
        def dig():
            for _ in range(1_500):
                os.mkdir("d")
                os.chdir("d")
            os.chdir(os.environ["HOME"])
            return "dug"
        attempt("dug", dig)
        """
    )
    assert found["dug"] == "dug"
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_third_kind_of_system_calls_ends_the_process(attack):
    with pytest.raises(Fault) as caught:
        attack("call(0x40000000 + 39)")
    assert caught.value.code is FaultCode.FORBIDDEN


def test_below_the_least_level_no_document_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "document"
    path.write_text("text")
    assert extract(path, filename="a.txt", limits=Limits(cage_level="sandboxed"), warm=False).text
    boot = (
        "import sys; sys.path.insert(0, sys.argv[1]); from jobs.extraction import child; "
        "from jobs.extraction.confine import CageLevel; "
        "child.shut_in = lambda document, scratch, models: CageLevel.FILTERED; child.main()"
    )
    monkeypatch.setattr(
        "jobs.extraction.attempts.CHILD_PROGRAM", (sys.executable, "-I", "-c", boot, str(PROJECT_ROOT))
    )
    with pytest.raises(Transient):
        extract(path, filename="a.txt", limits=Limits(cage_level="sandboxed"), warm=False)
    assert extract(path, filename="a.txt", limits=Limits(cage_level="filtered"), warm=False).text


def test_a_worker_refuses_to_start_below_the_level_that_is_demanded(monkeypatch):
    require_cage(Settings(cage_level="sandboxed"))
    monkeypatch.setattr("jobs.extraction.cage_level", lambda: CageLevel.LIMITS)
    require_cage(Settings())
    with pytest.raises(ConfigurationError, match="CAGE_LEVEL demands 'filtered'"):
        require_cage(Settings(cage_level="filtered"))


def test_an_unknown_level_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(ConfigurationError, match="limits, filtered, sandboxed"):
        load_settings({"CAGE_LEVEL": "strong", "DATA_DIR": str(tmp_path)})
