"""Processes: how the interpreter ends in every state of a session, forks, Ctrl-C, subinterpreters.

`OVERHEARD_EXITS` sets how many exits are made in all (default 200).
"""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

EXITS = int(os.environ.get("OVERHEARD_EXITS", "200"))

PROLOGUE = """
import asyncio, os, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts the tests with & has it ignored
from bridge_help import selftest
from overheard import _driver

async def save_question_runs(runs):
    await asyncio.sleep(0)

def work(calls=20, **options):
    return selftest({"save_question_runs": save_question_runs}, kind="save_question_runs", calls=calls, records=50,
                    window=4, **options)

async def endless(started=None):
    await work(calls=10**9, on_session=lambda session: started and started.set())
"""

EXIT_CASES = {
    "awaited": "asyncio.run(work()); print('ok')",
    "in flight, cancelled by asyncio.run": """
        async def main():
            started = asyncio.Event()
            task = asyncio.create_task(endless(started))
            await started.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            print('ok')
        asyncio.run(main())
    """,
    "never awaited": """
        async def main():
            session = []
            coroutine = work(calls=10**9, on_session=session.append)
            coroutine.send(None)
            assert session
            globals()['kept'] = coroutine
            print('ok')
        asyncio.run(main())
    """,
    "in flight, loop left unclosed": """
        import warnings; warnings.simplefilter('ignore', ResourceWarning)
        loop = asyncio.new_event_loop()
        started = asyncio.Event()
        task = loop.create_task(endless(started))
        task._log_destroy_pending = False
        loop.run_until_complete(started.wait())
        print('ok')
    """,
    "two loops in threads, awaited": """
        threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(2)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print('ok')
    """,
    "two loops in daemon threads, running at exit": """
        started = [threading.Event() for _ in range(2)]
        for event in started:
            threading.Thread(target=lambda event=event: asyncio.run(endless(event)), daemon=True).start()
        for event in started: event.wait()
        print('ok')
    """,
    "slow teardown, daemon": """
        import time
        class Slow:
            def __del__(self, sleep=time.sleep): sleep(0.02)
        sys.modules['slow'] = Slow()
        event = threading.Event()
        threading.Thread(target=lambda: asyncio.run(endless(event)), daemon=True).start()
        event.wait()
        print('ok')
    """,
    "sys.exit inside a callback": """
        async def save(runs): sys.exit(3)
        try:
            asyncio.run(selftest({"save_question_runs": save}, kind="save_question_runs"))
        except SystemExit as end:
            assert end.code == 3
            print('ok')
    """,
}


def python(code: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment,
    )


@pytest.mark.timeout(600)
def test_f74_the_interpreter_ends_quietly_in_every_state() -> None:
    """No crash, no text on stderr. pyo3-async-runtimes crashed 118 of 1,400 such exits."""
    cases = [name for _, name in zip(range(EXITS), list(EXIT_CASES) * EXITS, strict=False)]
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(lambda name: python(EXIT_CASES[name]), cases))
    bad = [
        (name, end.returncode, end.stdout, end.stderr[-2000:])
        for name, end in zip(cases, ends, strict=True)
        if end.returncode != 0 or end.stdout != "ok\n" or end.stderr != ""
    ]
    assert not bad, f"{len(bad)} of {len(ends)} exits: {bad[:3]}"


def test_ctrl_c_ends_the_process_with_a_keyboard_interrupt() -> None:
    end = python(
        f"""
        async def main():
            started = asyncio.Event()
            task = asyncio.create_task(endless(started))
            await started.wait()
            os.kill(os.getpid(), {int(signal.SIGINT)})
            await task
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print('interrupted')
        """
    )
    assert (end.returncode, end.stdout, end.stderr) == (0, "interrupted\n", "")


FORK = """
    import warnings; warnings.simplefilter('ignore', DeprecationWarning)
    {before}
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work())
            print('worked', flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        sys.exit(5)
    _, status = os.waitpid(child, 0)
    asyncio.run(work())
    print('parent', os.waitstatus_to_exitcode(status))
"""


def test_a_fork_before_the_first_use_works() -> None:
    end = python(FORK.format(before=""))
    assert (end.returncode, end.stdout, end.stderr) == (0, "worked\nparent 5\n", "")


def test_a_fork_after_the_first_use_is_a_clear_error() -> None:
    end = python(FORK.format(before="asyncio.run(work())"))
    message, parent = end.stdout.splitlines()
    assert "forked" in message
    assert "spawn" in message
    assert (end.returncode, parent, end.stderr) == (0, "parent 5", "")


def test_a_fork_in_flight_leaves_parent_and_child_quiet() -> None:
    end = python(
        """
        import gc, warnings; warnings.simplefilter('ignore', DeprecationWarning)
        async def main():
            started = asyncio.Event()
            task = asyncio.create_task(endless(started))
            await started.wait()
            child = os.fork()
            if child == 0:
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    pass
                gc.collect()
                return 'child'
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0, status
            await work()  # the child has not touched the parent's reader
            return 'parent'
        print(asyncio.run(main()), flush=True)
        """
    )
    assert (end.returncode, end.stdout.split(), end.stderr) == (0, ["child", "parent"], "")


def test_a_start_while_the_interpreter_shuts_down_is_refused() -> None:
    end = python(
        """
        async def late():
            from overheard import _core
            _core._shutdown(1.0)
            await work()
        try:
            asyncio.run(late())
        except RuntimeError as error:
            print(error)
        """
    )
    assert (end.stdout, end.stderr) == ("overheard cannot start anything while the interpreter shuts down\n", "")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="later Pythons refuse by themselves, with words of their own")
def test_a_subinterpreter_is_refused() -> None:
    end = python(
        """
        import _xxsubinterpreters as interpreters
        interpreter = interpreters.create()
        try:
            interpreters.run_string(interpreter, "import overheard._core")
        except interpreters.RunFailedError as error:
            print(error)
        """
    )
    assert "ImportError" in end.stdout, end.stdout + end.stderr
    assert end.returncode == 0
