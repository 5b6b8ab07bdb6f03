"""Who holds a lease, and whether that session is provably dead. The one place that looks at processes; writes nothing.

An owner is `host/boot/process/session`: the host's name; its machine, boot and process namespace (a process id means
nothing elsewhere); the process id with its start time (process ids are used again); a session of that process. What
cannot be looked at counts as alive: its lease ends by itself.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

from overheard.batch import Batch, ModelRun, now_ms

_PROC = Path("/proc")
_MACHINE = Path("/etc/machine-id")
# Sessions of this process that have not ended.
_at_work: set[str] = set()


@contextmanager
def session() -> Iterator[str]:
    """The owner of a session of this process, which is alive until the block ends."""
    since = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
    process = os.getpid()
    owner = f"{_host()}/{_boot()}/{process}+{_started(process) or ''}/{since}_{uuid4().hex}"
    _at_work.add(owner)
    try:
        yield owner
    finally:
        _at_work.discard(owner)


def is_dead(owner: str) -> bool:
    """True when it is certain that the session has ended: its boot of this host, its process, or itself in this one.

    Args:
        owner: As a lease has it; what is no owner of ours counts as alive.
    """
    parts = owner.split("/")
    if len(parts) != 4 or parts[0] != _host():
        return False
    if parts[1] != _boot():
        return _was_rebooted(parts[1])
    number, _, started = parts[2].partition("+")
    if not number.isdigit():
        return False
    if int(number) == os.getpid() and started == (_started(os.getpid()) or ""):
        return owner not in _at_work
    return not _is_running(int(number), started)


def settled(run: ModelRun) -> ModelRun:
    """The model run without the lease of a dead owner; back to `queued` when it was running and nobody holds it."""
    if run.lease_owner is not None and is_dead(run.lease_owner):
        run = replace(run, lease_owner=None, lease_expires_at_ms=None)
    return run.settled(now_ms())


def settled_batch(batch: Batch) -> Batch:
    """The batch with each of its model runs settled."""
    return replace(batch, model_runs=tuple(settled(run) for run in batch.model_runs))


def describe(owner: str) -> str:
    """An owner for a person: `process 12 on host-a (at work since …)`."""
    parts = owner.split("/")
    if len(parts) != 4:
        return f"'{owner}'"
    since, separator, _ = parts[3].partition("_")
    known = f" (at work since {since})" if separator else ""
    return f"process {parts[2].partition('+')[0]} on {parts[0]}{known}"


def _host() -> str:
    return socket.gethostname().replace("/", "-") or "localhost"


def _boot() -> str:
    """Machine, boot and process namespace; empty where the system does not tell."""
    boot = _line(_PROC / "sys/kernel/random/boot_id")
    if not boot:
        return ""
    try:
        namespace = "".join(character for character in os.readlink(_PROC / "self/ns/pid") if character.isdigit())
    except OSError:
        namespace = ""
    return f"{_line(_MACHINE)[:12]}+{boot}+{namespace}"


def _was_rebooted(theirs: str) -> bool:
    """True for another boot of this very machine: two machines, or two containers, may have the same host name."""
    there, here = theirs.split("+"), _boot().split("+")
    return len(there) == len(here) == 3 and there[0] == here[0] != "" and there[1] != here[1]


def _line(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _started(process: int) -> str | None:
    """When a process started, in the kernel's own count; None: there is none, or it has only to be buried."""
    try:
        fields = (_PROC / str(process) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    # The fields after the name, which may hold anything: the state is the first, the start time the twentieth.
    return None if len(fields) < 20 or fields[0] in "ZX" else fields[19]


def _is_running(process: int, started: str) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and somebody else's
    return not started or _started(process) == started
