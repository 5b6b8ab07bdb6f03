"""One bridge for each event loop: the loop watches the core's port, and events go to the sessions that wait for them.

Nothing stays registered while no session runs. Only the loop itself holds its bridge and thereby the sessions: a task
that nobody else refers to goes on, as its loop does, and dies with it. This file must not know what an event means.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import weakref
from typing import Any, Protocol

from overheard import _core

#: Records turned into objects per wake-up; the rest waits for the next turn of the loop, so that others get theirs.
MAX_RECORDS = 1000


class Receiver(Protocol):
    """What waits for the events of a session."""

    def receive(self, event: tuple[Any, ...]) -> None:
        """Takes one event; must not raise."""


class Bridge:
    """The port of one event loop, watched while sessions use it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Makes the port; `acquire` starts the watch."""
        self.port = _core.Port()
        self.receivers: dict[int, Receiver] = {}
        self._loop = weakref.ref(loop)
        self._pid = os.getpid()
        self._users = 0
        self._reader: asyncio.Task[None] | None = None

    def acquire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Counts a user; the first one starts the watch."""
        self._users += 1
        if self._users > 1:
            return
        try:
            loop.add_reader(self.port.fileno(), self._readable)
        except NotImplementedError:
            self._reader = loop.create_task(self._read(loop))
            forget_quietly(self._reader)

    def release(self) -> None:
        """Counts a user off; the last one ends the watch and the port."""
        self._users -= 1
        loop = self._loop()
        if self._users > 0 or self._pid != os.getpid() or loop is None or loop.is_closed():
            return
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None  # task, traceback, bridge: a circle that would keep the descriptors open
        else:
            loop.remove_reader(self.port.fileno())
        self.port.close()
        _local.bridges.pop(loop, None)

    def abandon(self) -> None:
        """As `release`, for a coroutine collected without its loop: touches neither the loop nor the port."""
        self._users -= 1

    @property
    def is_ours(self) -> bool:
        """False in a forked child, where nothing of it may be used."""
        return self._pid == os.getpid()

    def _readable(self) -> None:
        for event in self.port.drain(MAX_RECORDS):
            receiver = self.receivers.get(event[0])
            if receiver is not None:
                receiver.receive(event)

    async def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """For loops without `add_reader`."""
        with socket.socket(fileno=os.dup(self.port.fileno())) as copy:
            copy.setblocking(False)
            while True:
                await loop.sock_recv(copy, 64)
                self._readable()


class _Local(threading.local):
    """Each thread knows its own loops only, so no lock is needed."""

    def __init__(self) -> None:
        self.bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Bridge]]
        self.bridges = weakref.WeakKeyDictionary()


_local = _Local()


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop that runs here.

    Raises:
        RuntimeError: No asyncio loop runs here; says what is needed.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "overheard needs a running asyncio event loop: await it from a coroutine (asyncio or uvloop, not trio)"
        ) from None


def acquire() -> Bridge:
    """The bridge of the running loop, with one more user.

    Raises:
        RuntimeError: No asyncio loop runs here.
    """
    loop = running_loop()
    known = _local.bridges.get(loop)
    bridge = known() if known is not None else None
    if bridge is None or not bridge.is_ours:
        bridge = Bridge(loop)
        _local.bridges[loop] = weakref.ref(bridge)
    bridge.acquire(loop)
    return bridge


def forget_quietly(task: asyncio.Task[Any]) -> None:
    """A task of ours that dies with its loop says nothing: the user's own coroutine tells about it."""
    with contextlib.suppress(AttributeError):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
