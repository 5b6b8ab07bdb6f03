"""Processes in bulk: forks, Ctrl-C, closed loops. No crash, no hang, no noise. Exits: `test_bridge_process.py`.

`OVERHEARD_FORKS` and `OVERHEARD_CTRL_C` set how many children are made (default 50 each).
"""

from __future__ import annotations

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_bridge_process import FORK, python

FORKS = int(os.environ.get("OVERHEARD_FORKS", "50"))
CTRL_C = int(os.environ.get("OVERHEARD_CTRL_C", "50"))
AT_A_TIME = 2

FORK_MANY = """
    import warnings; warnings.simplefilter('ignore', DeprecationWarning)
    import gc
    {before}
    for number in range({count}):
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(work(calls=2))
                code = 5
            except RuntimeError as error:
                code = 6 if 'forked' in str(error) and 'spawn' in str(error) else 7
            gc.collect()
            sys.exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == {expected}, (number, status)
        {between}
    print('parent')
"""


@pytest.mark.timeout(120)
def test_f74_forks_before_and_after_the_first_use() -> None:
    """Half of the children are made before the core was used, where it works; half after, where it is a clear error."""
    half = FORKS // 2
    cases = {
        "before": FORK_MANY.format(before="", between="", count=half, expected=5),
        "after": FORK_MANY.format(
            before="asyncio.run(work(calls=2))", between="asyncio.run(work(calls=2))", count=half, expected=6
        ),
    }
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ends = dict(zip(cases, pool.map(python, cases.values()), strict=True))
    for name, end in ends.items():
        assert (end.returncode, end.stdout, end.stderr) == (0, "parent\n", ""), name
    assert FORK  # the single forms, with what they print, stand in test_bridge_process


INTERRUPTED = """
    import random, signal
    rounds, seed = {rounds}, {seed}
    chance = random.Random(seed)

    def interrupt(after):
        # From a thread of its own: the signal meets the loop wherever it is.
        def kill():
            os.kill(os.getpid(), signal.SIGINT)
        timer = threading.Timer(after, kill)
        timer.start()
        timers.append(timer)

    async def main():
        # Not before the loop stands: while asyncio builds one, a Ctrl-C makes CPython itself complain.
        interrupt(chance.uniform(0.0, 0.05))
        await endless()

    interrupted, timers = 0, []
    for _ in range(rounds):
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            interrupted += 1
        timers.pop().join()
    print(interrupted)
"""


@pytest.mark.timeout(120)
def test_f68_ctrl_c_at_random_moments_of_a_plain_program() -> None:
    """In rounds of ten a process: after each Ctrl-C the same process starts again."""
    seed = random.randrange(2**32)
    rounds = 10
    codes = [INTERRUPTED.format(rounds=rounds, seed=seed + number) for number in range(max(1, CTRL_C // rounds))]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        ends = list(pool.map(python, codes))
    for end in ends:
        assert (end.returncode, end.stdout, end.stderr) == (0, f"{rounds}\n", ""), f"seed {seed}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_f68_a_signal_while_nothing_of_ours_handles_it_ends_the_process_as_python_does(number: int) -> None:
    """The library installs no signal handler: what the program does with a signal stays its own."""
    end = python(
        f"""
        import signal
        before = signal.getsignal({int(number)})
        asyncio.run(work())
        assert signal.getsignal({int(number)}) is before
        print('ok')
        """
    )
    assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", "")


CLOSED = """
    import gc
    async def leave():
        started = asyncio.Event()
        kept.append(asyncio.ensure_future(endless(started)))
        await started.wait()

    def close_loop():
        loop = asyncio.new_event_loop()
        started = asyncio.Event()
        task = loop.create_task(endless(started))
        task._log_destroy_pending = False  # the program's own fault, which Python tells about
        loop.run_until_complete(started.wait())
        loop.close()
        kept.append(task)

    kept = []
    for number in range({loops}):
        asyncio.run(leave()) if number % 2 else close_loop()
        kept.clear()
        if number == 9:
            gc.collect()
            threads = threading.active_count()
    gc.collect()
    from overheard import _core
    for _ in range(2000):
        if not _core._live_sessions(): break
        import time; time.sleep(0.005)
    assert not _core._live_sessions(), _core._live_sessions()
    assert threading.active_count() <= threads, threading.enumerate()
    native = [open(f'/proc/self/task/{{task}}/comm').read().strip() for task in os.listdir('/proc/self/task')]
    assert len(native) < 20, native
    assert len(os.listdir('/proc/self/fd')) < 40
    print('ok')
"""


@pytest.mark.timeout(120)
def test_f73_a_hundred_closed_loops_with_work_in_flight() -> None:
    """Half are ended by `asyncio.run`, half just closed; nothing is printed, no thread or descriptor stays."""
    end = python(CLOSED.format(loops=100))
    assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", "")


def test_f73_a_loop_closed_between_a_call_and_its_first_step_says_nothing() -> None:
    """The core has asked, the callback's task is made, and the loop never runs again."""
    end = python(
        """
        import gc
        loop = asyncio.new_event_loop()
        def make(loop, coroutine, **options):
            if coroutine.__qualname__ == '_Driver._answer':
                made.append(coroutine.__qualname__)
                loop.stop()
            return asyncio.Task(coroutine, loop=loop, **options)
        made = []
        loop.set_task_factory(make)
        task = loop.create_task(endless(asyncio.Event()))
        task._log_destroy_pending = False
        loop.run_forever()
        assert made
        loop.close()
        del task
        gc.collect()
        print('ok')
        """
    )
    assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", "")


def test_f72_f74_a_callback_that_hangs_for_ever_does_not_keep_the_process() -> None:
    """A plain callback that never returns sits in a thread of ours, which nobody can end."""
    end = python(
        """
        from overheard.errors import StoreError
        stuck = threading.Event()
        def save(runs): stuck.wait()
        try:
            asyncio.run(selftest({"save_question_runs": save}, kind="save_question_runs", host_ms=50))
        except StoreError as error:
            assert 'did not return' in str(error), error
            print('ok')
        """,
        timeout=20,
    )
    assert (end.returncode, end.stdout, end.stderr) == (0, "ok\n", "")
