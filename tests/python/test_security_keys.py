"""Keys stay out of everything that is printed, stored, raised or shown (security items 4-7, 37, 38; invariant I12).

A key is found when it stands somewhere as it is, in base64, percent-encoded, or with eight characters of its secret
part in a row. The search is held against texts that do contain it, so that finding nothing proves something.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import logging
import os
import pickle
import random
import string
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from e2e_help import FAST, cli, environment, rows
from overheard import Pipeline, Provider
from overheard.errors import OverheardError, to_fields
from overheard.settings import Secret, Settings
from overheard.simulator import Simulator

_CHANCE = random.Random(12)
PREFIXES = {"OPENAI_API_KEY": "sk-proj-", "ANTHROPIC_API_KEY": "sk-ant-api03-", "BRIGHTDATA_API_KEY": ""}
SECRETS = {name: "".join(_CHANCE.choices(string.ascii_letters + string.digits, k=40)) for name in PREFIXES}
KEYS = {name: prefix + SECRETS[name] for name, prefix in PREFIXES.items()}
MODELS = ("chatgpt", "perplexity", "gemini", "gpt-4.1", "claude-sonnet-4-5")


def needles() -> set[bytes]:
    found: set[bytes] = set()
    for name, key in KEYS.items():
        secret = SECRETS[name]
        found |= {secret[start : start + 8].encode() for start in range(len(secret) - 7)}
        # Base64 of anything that holds the key: three alignments, without what depends on what stands around.
        found |= {base64.b64encode(b"x" * shift + key.encode())[4:-4] for shift in range(3)}
        found.add(quote(key, safe="").encode())
    return found


NEEDLES = needles()


def leaks(data: bytes | str) -> list[bytes]:
    haystack = data.encode(errors="replace") if isinstance(data, str) else data
    return [needle for needle in NEEDLES if needle in haystack]


def test_the_search_finds_what_it_looks_for() -> None:
    for key in KEYS.values():
        assert leaks(f"Bearer {key}")
        assert leaks(base64.b64encode(f"user:{key}".encode()))
        assert leaks(f"... {key[-10:]} ...")
    assert not leaks("sk-proj-, sk-ant-api03-, nothing else")


class Echo(BaseHTTPRequestHandler):
    """Answers every call with the key it was sent, in header and body."""

    status = 401
    whole = True

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        key = (self.headers.get("x-api-key") or self.headers.get("authorization") or "").removeprefix("Bearer ")
        shown = key if self.whole else f"{key[:24]}****{key[-12:]}"
        error = {"message": f"invalid key: {shown}", "type": "authentication_error", "code": f"bad-{shown}"}
        body = json.dumps({"type": "error", "error": error, "request_id": shown}).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-request-id", shown)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(params=[(401, True), (401, False), (200, True), (200, False), (403, False)])
def echo(request: pytest.FixtureRequest) -> Iterator[str]:
    status, whole = request.param
    handler = type("Handler", (Echo,), {"status": status, "whole": whole})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def at(url: str) -> dict[str, str]:
    """Every provider at one address, with the canary keys."""
    bases = {"OPENAI_BASE_URL": f"{url}/v1", "ANTHROPIC_BASE_URL": url, "BRIGHTDATA_BASE_URL": url}
    return KEYS | bases


def everything_of(error: BaseException | None) -> Iterator[str]:
    """All that an exception can show, down its causes."""
    while error is not None:
        yield from (repr(error), str(error), repr(error.args), repr(getattr(error, "__notes__", "")), repr(vars(error)))
        yield "".join(traceback.format_exception(error))
        if isinstance(error, OverheardError):
            yield json.dumps(to_fields(error))
            yield repr(pickle.loads(pickle.dumps(error)).__dict__)
        error = error.__cause__ or error.__context__


def with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


# --- s05: objects ---


def test_s05_keys_do_not_print_in_any_form() -> None:
    settings = Settings.load(at("http://127.0.0.1:1") | {"OVERHEARD_PROXY": f"http://u:{KEYS['OPENAI_API_KEY']}@p:1"})
    pipeline = Pipeline("sqlite://", env=at("http://127.0.0.1:1"))
    provider = Provider.for_model("gpt-4.1", env=at("http://127.0.0.1:1"))
    secret = settings.keys["OPENAI".lower()]
    assert secret.reveal() == KEYS["OPENAI_API_KEY"]
    shown = [
        *(f"{thing}{thing!r}{thing!s}" for thing in (settings, pipeline, provider, secret)),
        repr(vars(settings)),
        repr(vars(pipeline)),
        repr(vars(provider)),
        repr(dataclasses.asdict(settings)),
        json.dumps(dataclasses.asdict(settings), default=str),
        repr(copy.copy(settings))
        + repr(copy.deepcopy(settings))
        + repr(copy.copy(secret))
        + repr(copy.deepcopy(secret)),
        repr(settings.to_json_dict()),
        f"{secret:}{secret!s:>10}",
        "%s %r" % (secret, secret),  # noqa: UP031 - this way of formatting is what is tested
    ]
    assert not [text for text in shown if leaks(text)]
    assert "***" in repr(secret)
    assert not Settings.load({}).keys["openai"], "unset is not a key"
    for thing in (settings, secret):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        vars(secret)


def caught(action: Any, *arguments: Any, **keywords: Any) -> BaseException:
    """Nothing but the call is in this frame, which belongs to the traceback too."""
    try:
        action(*arguments, **keywords)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


class _Canary(dict[str, str]):
    """The caller's own variables: what the caller's own frames show is the caller's."""

    def __repr__(self) -> str:
        return "(the caller's)"


@pytest.mark.parametrize(
    "wrong",
    [
        {"OPENAI_BASE_URL": "nonsense"},
        {"OVERHEARD_PRICES": "none.json"},
        {"OVERHEARD_PROXY": "ftp://proxy"},
        {"OPENAI_API_KEY": KEYS["OPENAI_API_KEY"] + " x"},
    ],
)
def test_s05_a_traceback_with_locals_shows_no_key(wrong: dict[str, str]) -> None:
    for action in (
        Settings.load,
        lambda env: Pipeline("sqlite://", env=env),
        lambda env: Provider.for_model("x", env=env),
    ):
        error = caught(action, _Canary(at("http://127.0.0.1:1") | wrong))
        assert isinstance(error, OverheardError)
        assert "settings.py" in with_locals(error), "our frames are in it"
        ours = with_locals(error).replace(repr(wrong), "")
        assert not leaks(ours), ours


async def test_s05_a_traceback_through_a_run_shows_no_key(tmp_path: Path) -> None:
    class Broken:
        supports_batching = False

        async def ask(self, requests: Any) -> Any:
            raise RuntimeError("a provider of the user's own")

    class Store:
        def __getattr__(self, name: str) -> Any:
            raise OSError("no store")

    pipeline = Pipeline(
        f"sqlite:///{tmp_path}/s.db", env=_Canary(at("http://127.0.0.1:1")), providers={"mine": Broken()}
    )
    pipeline.settings.values["openai.max_in_flight"] = "many"  # type: ignore[index] - so that the engine refuses the spec
    with pytest.raises(OverheardError) as raised:
        await pipeline.run("demo", models=["gpt-4.1"], questions=1)
    text = with_locals(raised.value)
    assert "drive" in text or "in _surface\n" in text, "a frame that holds the settings is in it"
    assert not leaks(text), text
    assert not [shown for shown in everything_of(raised.value) if leaks(shown)]


# --- s06: what a provider echoes ---


@pytest.mark.parametrize("model", MODELS)
async def test_s06_an_echoed_key_comes_back_in_no_error(
    echo: str, model: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    provider = Provider.for_model(model, env=at(echo), **(FAST | {"snapshot_deadline_ms": 200}))
    (outcome,) = await provider.run_question_batch(["What is Acme?"])
    assert outcome.status in ("failed", "no_answer")
    shown = [*everything_of(outcome.error), repr(outcome), json.dumps(outcome.to_dict(), default=str), caplog.text]
    shown += [*capfd.readouterr(), bytes(outcome.raw or b"").decode()]
    assert not [text for text in shown if leaks(text)], shown


# --- s07: logs ---


def test_s07_the_logger_masks_what_python_adds(caplog: pytest.LogCaptureFixture) -> None:
    key = Secret(KEYS["OPENAI_API_KEY"])
    logger = logging.getLogger("overheard")
    caplog.set_level(logging.DEBUG, "overheard")
    raw = key.reveal()
    try:
        raise ValueError(f"my store got {raw}")
    except ValueError as error:
        logger.debug("callback raised %s", error, exc_info=error)
    logger.warning("half of it: %s, %s", raw[12:30], 5)
    logger.info("a wrong format %d", "x") if False else None
    assert "my store got sk-pro" not in caplog.text.replace("***", "")
    assert "***" in caplog.text
    assert "Traceback" in caplog.text
    assert not leaks(caplog.text.replace(f'f"my store got {raw}"', "")), caplog.text
    logger.warning("nothing to hide: %s", "sk-proj-")
    assert "nothing to hide: sk-proj-" in caplog.text


# --- I12: a whole batch ---

CHILD = """
import asyncio, json, logging, sys, traceback
from overheard import Pipeline, Provider
from overheard.errors import OverheardError, to_fields
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)

async def main():
    limits = dict(first_poll_ms=20, min_poll_ms=10, retry_base_ms=5, retry_throttle_base_ms=10)
    models = sys.argv[1].split(",")
    async with Pipeline("sqlite:///batch.db", **limits) as pipeline:
        print(repr(vars(pipeline)))
        summary = await pipeline.run("demo", models=models, questions=6, locations=["US", "DE"])
        print(json.dumps(summary.to_dict()), repr(summary))
        print(json.dumps(await pipeline.quote("demo", models=models, questions=2)))
    for model in models:
        try:
            print(repr(await Provider.for_model(model, **limits).run_question("What is Acme?")))
        except OverheardError as error:
            print(json.dumps(to_fields(error)), repr(error), error.args, getattr(error, "__notes__", None))
            print(repr(error.__cause__), repr(error.__context__))
            print("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))

asyncio.run(main())
"""


def scan(folder: Path, texts: Iterable[str | bytes]) -> int:
    """Searches every file below `folder` and these texts; gives the number of bytes looked at."""
    size = 0
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            size += len(data)
            assert not leaks(data), f"{path}: {leaks(data)}"
            assert not leaks(str(path))
    for text in texts:
        size += len(text)
        assert not leaks(text), (leaks(text), text)
    return size


def observed(arguments: list[str], folder: Path, variables: dict[str, str]) -> tuple[int, str, str, set[bytes]]:
    """Runs a process; gives its exit code, both outputs, and every command line it had."""
    process = subprocess.Popen(
        arguments, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines = {Path(f"/proc/{process.pid}/cmdline").read_bytes()} if sys.platform == "linux" else set()
    out, err = process.communicate(timeout=90)
    return process.returncode, out, err, lines


@pytest.mark.parametrize("day", ["faults", "perfect"])
def test_s04_s07_i12_no_canary_anywhere_after_a_whole_batch(tmp_path: Path, day: str) -> None:
    rates = (
        {}
        if day == "perfect"
        else {name: 0.1 for name in Simulator.rate_names() if "slow" not in name and "hang" not in name}
    )
    with Simulator(seed=3, snapshot_ms=50, perfect=day == "perfect", rates=rates) as simulator:
        variables = environment(simulator, tmp_path, **KEYS, RUST_LOG="trace", PYTHONWARNINGS="default")
        code, out, err, lines = observed([sys.executable, "-c", CHILD, ",".join(MODELS)], tmp_path, variables)
        ledger = simulator.ledger()
    assert code == 0, err
    assert json.dumps(ledger)
    assert "batch" in err
    assert scan(tmp_path, [out, err, *lines]) > 10_000
    stored = rows(tmp_path / "batch.db", "SELECT count(*) AS n FROM question_runs")[0]["n"]
    assert stored > 0
    (summary,) = [
        json.loads(line[: line.rindex("} ") + 1]) for line in out.splitlines() if line.startswith('{"batch_id"')
    ] or [{}]
    if day == "perfect":
        assert stored == 5 * 6 * 2
        assert summary == {} or summary["answered"] == stored


def test_i12_no_canary_after_a_batch_of_providers_that_echo(tmp_path: Path, echo: str) -> None:
    variables = environment(None, tmp_path, **at(echo))
    # What echoes is no reply to a trigger, so its snapshot is looked for and the breaker pauses: here not for minutes.
    quick = "retry_base_ms=5, breaker_ms=20, snapshot_deadline_ms=200, unknown_grace_ms=200"
    limited = CHILD.replace("retry_base_ms=5", quick)
    code, out, err, lines = observed([sys.executable, "-c", limited, ",".join(MODELS)], tmp_path, variables)
    assert code == 0, err
    scan(tmp_path, [out, err, *lines])


# --- s37, s38: the command line ---


def test_s37_no_option_takes_a_key(tmp_path: Path) -> None:
    seen = 0
    for arguments in ([], *([name] for name in ("run", "execute", "extract", "resume", "status", "verify", "orgs"))):
        told = cli(tmp_path, *arguments, "--help")
        assert told.returncode == 0, told.stderr
        text = told.stdout.lower()
        seen += text.count("--")
        options = [word.strip("│ ,") for word in text.split() if word.startswith("--")]
        assert not [
            option
            for option in options
            if any(word in option for word in ("key", "secret", "token", "password")) and option != "--batch-key"
        ]
    assert seen > 20
    refused = cli(tmp_path, "run", "demo", "--api-key", KEYS["OPENAI_API_KEY"])
    assert refused.returncode == 2


def test_s38_our_own_process_writes_no_core_dump(tmp_path: Path) -> None:
    program = "import resource, sys; from overheard.cli import main; sys.argv = ['overheard', '--help']\n"
    program += "try:\n    main()\nexcept SystemExit:\n    print('LIMIT', resource.getrlimit(resource.RLIMIT_CORE)[0])"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert "LIMIT 0" in told.stdout
    library = "import resource, overheard; print(resource.getrlimit(resource.RLIMIT_CORE))"
    before = subprocess.run(
        [sys.executable, "-c", "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"],
        capture_output=True,
        text=True,
        check=True,
    )
    after = subprocess.run([sys.executable, "-c", library], capture_output=True, text=True, check=True)
    assert before.stdout == after.stdout, "a library leaves its host's limits alone"
