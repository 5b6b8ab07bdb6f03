"""PostgreSQL for tests: the server that OVERHEARD_TEST_POSTGRES names, and a private one that tests may hurt.

The private cluster listens on a loopback port, writes into a folder of its own, and ends with the tests.
Signals go to the postmaster that was started here and to its children, to no other process.
"""

from __future__ import annotations

import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from overheard.stores import SqlStore, open_store

USER = "overheard"
_SETTINGS = "-c listen_addresses=127.0.0.1 -c shared_buffers=16MB -c max_wal_size=32MB -c min_wal_size=4MB"
# It is stopped, and its folder removed, when its tests close the pipe: also when they are killed.
_GUARDIAN = """
read -r _
folder="$1"; shift
master="$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)"
if [ -n "$master" ]; then
    kill -CONT "$master" 2>/dev/null
    "$@" -D "$folder/data" -m immediate -w -t 15 stop || kill -KILL "$master"
fi
find "$folder" -mindepth 1 -delete
"""
_numbers = count()


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; None: not installed."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda each: int(each.split("/")[4]), reverse=True)
    on_path = shutil.which("initdb")
    folders += [str(Path(on_path).resolve().parent)] if on_path else []
    for folder in map(Path, folders):
        if all((folder / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return None


def needed() -> Path:
    """The programs; without them the test is skipped, which is a failure in CI."""
    folder = programs()
    if folder is None:
        if os.environ.get("OVERHEARD_CI"):
            pytest.fail("PostgreSQL is not installed (initdb, pg_ctl)", pytrace=False)
        pytest.skip("PostgreSQL is not installed (initdb, pg_ctl)")
    return folder


class Cluster:
    """A running server.

    Attributes:
        folder: Everything it writes lies below.
        port: On 127.0.0.1.
    """

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        """Makes and starts it in an empty folder."""
        self.folder, self._bin = folder, bin_folder
        self._as: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = "postgres" if _exists("postgres") else "nobody"
            shutil.chown(folder, user)
            self._as = ["runuser", "-u", user, "--"]
        made = ["initdb", "-D", str(folder / "data"), "-A", "trust", "-U", USER, "-E", "UTF8", "--wal-segsize=1"]
        # A language whose order is not that of the bytes, where this PostgreSQL has one.
        if not self._run([*made, "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en"]):
            shutil.rmtree(folder / "data", ignore_errors=True)
            assert self._run([*made, "--no-locale"]), self.log
        self.port = _free_port()
        self.start()
        self._guardian = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDIAN, "sh", str(folder), *self._as, str(bin_folder / "pg_ctl")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _run(self, arguments: Sequence[str]) -> bool:
        """Runs a program of PostgreSQL; what it says is in the log. Pipes would be held open by the server."""
        with (self.folder / "programs.log").open("ab") as log:
            command = [*self._as, str(self._bin / arguments[0]), *arguments[1:]]
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, timeout=90, check=False
            )
        return ended.returncode == 0

    def _control(self, *arguments: str) -> bool:
        server = f"-p {self.port} -k {self.folder} {_SETTINGS}"
        data, log = str(self.folder / "data"), str(self.folder / "server.log")
        return self._run(["pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "-o", server, *arguments])

    @property
    def log(self) -> str:
        """What the programs and the server said last."""
        texts = [path.read_text(errors="replace")[-3000:] for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(texts)

    def start(self) -> None:
        """Starts it unless it runs."""
        if not self._control("status"):
            assert self._control("start"), self.log

    def restart(self) -> None:
        """As after a crash: nothing is written first."""
        assert self._control("-m", "immediate", "restart"), self.log

    def stop(self) -> None:
        """Ends it and removes its folder's content."""
        self.go_on()
        assert self._guardian.stdin is not None
        # A line, not only the end of the pipe: a process that was forked meanwhile may hold its other end open.
        with suppress(BrokenPipeError):
            self._guardian.stdin.write(b"\n")
            self._guardian.stdin.flush()
        self._guardian.stdin.close()
        self._guardian.wait(60)

    @property
    def postmaster(self) -> int:
        """Its process id."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def processes(self) -> list[int]:
        """The postmaster and its children."""
        master = self.postmaster
        said = subprocess.run(["ps", "-o", "pid=", "--ppid", str(master)], capture_output=True, text=True, check=False)
        return [master, *map(int, said.stdout.split())]

    def freeze(self) -> None:
        """Halts every process of it; the kernel still takes connections and bytes."""
        for process in self.processes():
            _signal(process, signal.SIGSTOP)

    def go_on(self) -> None:
        """Ends the halt; does nothing without one."""
        if (self.folder / "data" / "postmaster.pid").exists():
            for process in self.processes():
                _signal(process, signal.SIGCONT)

    def kill_session(self, database: str) -> int:
        """SIGKILL to the newest session on a database; gives its process id, 0: there was none, or no answer."""
        import psycopg

        wanted = "SELECT pid FROM pg_stat_activity WHERE datname = %s ORDER BY backend_start DESC"
        try:
            found = self.query(wanted, database)
        except psycopg.OperationalError:  # still in recovery
            return 0
        ours = [row[0] for row in found if row[0] in self.processes()[1:]]
        for process in ours[:1]:
            _signal(process, signal.SIGKILL)
        return ours[0] if ours else 0

    def query(self, text: Any, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Rows, over a connection of its own that knows nothing of ours."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, dbname=database, autocommit=True, connect_timeout=30
        ) as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """The name of a new database."""
        name = f"db{next(_numbers)}"
        self.query(f"CREATE DATABASE {name}")
        return name

    def url(self, database: str | None = None) -> str:
        """A store's URL; None: of a new database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database or self.database()}"


def _exists(user: str) -> bool:
    import pwd

    return any(entry.pw_name == user for entry in pwd.getpwall())


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _signal(process: int, which: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(process, which)


@contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """A cluster in an empty folder, stopped at the end."""
    running = Cluster(folder, needed())
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster in a temporary folder."""
    needed()
    folder = Path(tempfile.mkdtemp(prefix="overheard-pg-"))
    try:
        with cluster_in(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Place:
    """A database of one test's own.

    Attributes:
        url: For `open_store`, and for psycopg.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, text: Any, *values: Any) -> list[tuple[Any, ...]]:
        """Rows, over a connection of its own that knows nothing of ours."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True, connect_timeout=30) as connection:
            cursor = connection.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def place_on(address: str) -> Iterator[Place]:
    """A new database on a server, removed at the end.

    Args:
        address: A URL of any database there, of a user who may make databases.
    """
    import psycopg
    from sqlalchemy.engine import make_url

    url = make_url(address).set(drivername="postgresql")
    root, name = Place(url.render_as_string(hide_password=False)), f"overheard_{os.getpid()}_{next(_numbers)}"
    try:
        root.query(f"CREATE DATABASE {name}")
    except psycopg.errors.InsufficientPrivilege:
        pytest.fail("OVERHEARD_TEST_POSTGRES: its user must be one who may make databases (CREATEDB)", pytrace=False)
    try:
        yield Place(url.set(database=name).render_as_string(hide_password=False))
    finally:
        root.query(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def server() -> Iterator[Cluster]:
    """The private cluster; `postgres` is the same, mended."""
    with cluster() as running:
        yield running


@pytest.fixture
def postgres(server: Cluster) -> Iterator[Cluster]:
    """The private cluster, running whatever the test before did to it."""
    server.go_on()
    server.start()
    yield server
    server.go_on()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A database of the test's own, on the server that the environment names, else in the private cluster."""
    address = os.environ.get("OVERHEARD_TEST_POSTGRES", "").strip()
    with place_on(address or request.getfixturevalue("postgres").url("postgres")) as made:
        yield made


class Watched(SqlStore):
    """Our store, that tells which rows it has acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(open_store(url).database)
        self.acknowledged: set[str] = set()
        self.extracted: set[str] = set()

    async def save_question_runs(self, runs: Any) -> None:
        await super().save_question_runs(runs)
        self.acknowledged.update(run.key for run in runs)

    async def save_extractions(self, extractions: Any) -> None:
        await super().save_extractions(extractions)
        self.extracted.update(entry.key for entry in extractions)
