"""Every environment variable and every limit, each with a line of documentation. Sends nothing; prints no key.

`.env` in the working directory is read, the environment wins. `Settings.to_json_dict()` is what the engine reads
(`src/config.rs`); it is the one place where keys leave their wrapper.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values

from overheard._quiet import Quiet, redaction
from overheard.errors import ConfigError

VARIABLES: Mapping[str, str] = {
    "OPENAI_API_KEY": "Key for models that OpenAI answers, and for extraction with the default extraction model.",
    "OPENAI_BASE_URL": "Where OpenAI is reached, with /v1. Default https://api.openai.com/v1",
    "ANTHROPIC_API_KEY": "Key for models that Anthropic answers.",
    "ANTHROPIC_BASE_URL": "Where Anthropic is reached, without /v1. Default https://api.anthropic.com",
    "BRIGHTDATA_API_KEY": "Key for chatgpt, perplexity and gemini.",
    "BRIGHTDATA_BASE_URL": "Where Bright Data is reached. Default https://api.brightdata.com",
    "BRIGHTDATA_DATASET_ID": "Dataset of the ChatGPT scraper. Default: the public one.",
    "PERPLEXITY_DATASET_ID": "Dataset of the Perplexity scraper. Default: the public one.",
    "GEMINI_DATASET_ID": "Dataset of the Gemini scraper. Default: the public one.",
    "OVERHEARD_STORE": "Where results are kept. Default sqlite:///overheard.db",
    "OVERHEARD_STORE_SCHEMA": "PostgreSQL's schema for the tables, made when missing. Default: the server's choice.",
    "OVERHEARD_JOURNAL": "File of paid work in flight. Default: beside an SQLite store, else in the state folder.",
    "OVERHEARD_EXTRACTION_MODEL": "Model that verifies mentions and names competitors. Default gpt-4.1-mini",
    "OVERHEARD_PROXY": "HTTP proxy for all providers, http://[user:password@]host:port. Default: none, whatever "
    "HTTPS_PROXY and the like say.",
    "OVERHEARD_PRICES": "JSON file of prices by model, in dollars, laid over the packaged ones.",
}
"""Name and meaning of every variable that is read."""

LIMITS: Mapping[str, tuple[str, str]] = {
    "openai_in_flight": ("openai.max_in_flight", "OpenAI calls in flight at most (64)"),
    "anthropic_in_flight": ("anthropic.max_in_flight", "Anthropic calls in flight at most (32)"),
    "openai_requests_per_minute": ("openai.requests_per_minute", "OpenAI calls a minute at most (0: as OpenAI allows)"),
    "openai_tokens_per_minute": ("openai.tokens_per_minute", "OpenAI tokens a minute at most (0: as OpenAI allows)"),
    "anthropic_requests_per_minute": (
        "anthropic.requests_per_minute",
        "Anthropic calls a minute at most (0: as Anthropic allows)",
    ),
    "anthropic_tokens_per_minute": (
        "anthropic.tokens_per_minute",
        "Anthropic tokens a minute at most (0: as Anthropic allows)",
    ),
    "brightdata_requests_per_minute": (
        "brightdata.requests_per_minute",
        "Bright Data calls a minute at most, polls and downloads too (0: no cap)",
    ),
    "brightdata_in_flight": ("brightdata.max_in_flight", "open Bright Data snapshots at most (100)"),
    "brightdata_triggers": ("brightdata.max_triggers", "Bright Data triggers at the same time at most (8)"),
    "extraction_in_flight": ("extraction_in_flight", "extraction calls in flight at most (64)"),
    "extraction_batch_answers": ("extraction_batch_answers", "llm-batch: answers of one batch at most (1000)"),
    "extraction_batches_open": ("extraction_batches_open", "llm-batch: batches at the provider at once at most (16)"),
    "max_output_tokens": ("max_output_tokens", "output cap of an answer, tokens (4000)"),
    "extraction_max_output_tokens": ("extraction_max_output_tokens", "output cap of an extraction, tokens (4000)"),
    "max_searches": ("max_searches", "web searches of a direct call at most (5)"),
    "max_continuations": ("max_continuations", "continuations of a paused turn at most (4)"),
    "retry_attempts": ("retry.attempts", "attempts of a paid call, the first included (3)"),
    "retry_base_ms": ("retry.base_ms", "first backoff, milliseconds (500)"),
    "retry_throttle_base_ms": ("retry.throttle_base_ms", "first backoff after a throttle, milliseconds (2000)"),
    "retry_max_park_ms": (
        "retry.max_park_ms",
        "wait this long at most for a provider that asks to be left alone, milliseconds (900000)",
    ),
    "breaker_ms": ("retry.breaker_ms", "first pause for a provider that fails half of its calls, milliseconds (30000)"),
    "answer_timeout_ms": ("timeouts.answer_ms", "time for a direct call, milliseconds (180000)"),
    "host_timeout_ms": ("timeouts.host_ms", "time for a callback of store or provider, milliseconds (30000)"),
    "first_poll_ms": ("datasets.first_poll_ms", "first poll of a snapshot, milliseconds (10000)"),
    "min_poll_ms": ("datasets.min_poll_ms", "shortest time between two polls of a snapshot, milliseconds (1000)"),
    "snapshot_deadline_ms": ("datasets.snapshot_deadline_ms", "give a snapshot this long, milliseconds (3600000)"),
    "lease_ms": ("lease_ms", "life of a model run's lease without renewal, milliseconds (60000)"),
    "grace_ms": ("grace_ms", "time for paid work in flight after a stop, milliseconds (10000)"),
    "unknown_grace_ms": ("unknown_grace_ms", "buy a lost submission again after this long unlisted, ms (120000)"),
    "group_commit": ("group_commit", "question runs per hand-over to the store at most (200)"),
}
"""Keyword arguments of `Pipeline` and `Provider.for_model`: place in the engine's settings, meaning, default."""

SWITCHES: Mapping[str, str] = {
    "charge_error_rows": "datasets.charge_error_rows",
    "openai_chat_completions": "openai_chat_completions",
}
"""Keyword arguments that are true or false: error rows of Bright Data are booked as charged; chat completions."""

CHOICES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "on_unknown": ("on_unknown", ("reconcile", "hold", "retrigger")),
}
"""Keyword arguments that are a word. `on_unknown`: what to do about a submission whose snapshot id was lost, or whose
snapshot is gone: `reconcile` (look for it at the provider, hold what is unclear), `hold` (never look), `retrigger`
(book the loss and buy again)."""

_PRICE_COUNTS = ("max_input_tokens", "batch_percent")
_PRICE_FIELDS = ("input", "cached_input", "cache_write", "output", "search", "record", "request")
_ACCOUNTS = {"openai": "OPENAI", "anthropic": "ANTHROPIC", "brightdata": "BRIGHTDATA"}
_DATASETS = {
    "chatgpt_dataset_id": "BRIGHTDATA_DATASET_ID",
    "perplexity_dataset_id": "PERPLEXITY_DATASET_ID",
    "gemini_dataset_id": "GEMINI_DATASET_ID",
}


class Secret:
    """A key that does not print: `repr`, `str` and formatting give `***`, and so does every copy.

    Log lines of the logger `overheard` do not hold it as long as it lives.
    """

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str) -> None:
        """Wraps `value`."""
        self._value = value
        if value:
            redaction.know(self)

    def reveal(self) -> str:
        """The key itself: only for the engine."""
        return self._value

    @property
    def sendable(self) -> bool:
        """True when an HTTP header can carry it."""
        return self._value.isascii() and self._value.isprintable() and " " not in self._value

    def __repr__(self) -> str:
        """`***`, or `unset`."""
        return "***" if self._value else "unset"

    def __bool__(self) -> bool:
        """True when a key is set."""
        return bool(self._value)

    def __copy__(self) -> Secret:
        """Itself: a copy is as quiet."""
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        """Itself."""
        return self

    def __reduce__(self) -> Any:
        """Refuses: a pickled key is a key on a disk.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a key cannot be pickled")


@dataclass(frozen=True)
class Settings:
    """What the environment and the caller's keyword arguments say, checked.

    Attributes:
        keys: Provider (`openai`, `anthropic`, `brightdata`) to key.
        values: Every set value that is no key, by its dotted place in the engine's settings.
        store: Where results are kept, as `open_store` takes it; None: not said.
        journal: File of paid work in flight; None: not said.
        prices: Prices by model in micro-dollars, as the engine reads them.
        simulated: True when a simulator answers.
        proxy: HTTP proxy for all providers; it may hold a password.
    """

    keys: Mapping[str, Secret] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    store: str | None = None
    journal: str | None = None
    prices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    simulated: bool = False
    proxy: Secret = field(default_factory=lambda: Secret(""))

    @classmethod
    def load(
        cls,
        env: Mapping[str, str] | None = None,
        *,
        prices: Mapping[str, Mapping[str, Any]] | None = None,
        dotenv: bool = True,
        simulated: bool = False,
        **limits: Any,
    ) -> Settings:
        """Reads the variables.

        Args:
            env: The variables; None: `.env` of the working directory under the process's environment.
            prices: Prices by model in dollars, over the file's.
            dotenv: Read `.env` too, when `env` is None.
            simulated: A simulator answers.
            **limits: See `LIMITS`, `SWITCHES` and `CHOICES`.

        Raises:
            ConfigError: A value is not what its variable or argument means; names it.
        """
        variables = environment(dotenv=dotenv) if env is None else Quiet(env)
        del env  # a traceback that shows locals must not show the keys
        values: dict[str, Any] = {}
        for account, prefix in _ACCOUNTS.items():
            if url := variables.get(f"{prefix}_BASE_URL", "").strip():
                values[f"{account}.base_url"] = _base_url(f"{prefix}_BASE_URL", url)
        for place, variable in _DATASETS.items():
            if dataset := variables.get(variable, "").strip():
                values[f"datasets.{place}"] = dataset
        if model := variables.get("OVERHEARD_EXTRACTION_MODEL", "").strip():
            values["extraction_model"] = model
        values.update(_checked_limits(limits))
        keys = {account: _key(f"{prefix}_API_KEY", variables) for account, prefix in _ACCOUNTS.items()}
        table: dict[str, dict[str, int]] = {}
        if path := variables.get("OVERHEARD_PRICES", "").strip():
            table.update(_price_table(_prices_file(path), f"OVERHEARD_PRICES ({path})"))
        table.update(_price_table(prices or {}, "prices"))
        return cls(
            keys=keys,
            values=values,
            store=variables.get("OVERHEARD_STORE", "").strip() or None,
            journal=variables.get("OVERHEARD_JOURNAL", "").strip() or None,
            prices=table,
            simulated=simulated,
            proxy=_proxy("OVERHEARD_PROXY", variables),
        )

    @property
    def extraction_model(self) -> str:
        """The model that verifies mentions and names competitors."""
        return str(self.values.get("extraction_model", "gpt-4.1-mini"))

    def to_json_dict(self, *, journal: str = "") -> Quiet:
        """The `settings` of a run or ask, as `src/config.rs` reads them. Holds the keys: hand it to the engine only.

        Args:
            journal: The journal's file; empty: none.
        """
        settings = Quiet({"prices": {model: dict(price) for model, price in self.prices.items()}})
        for account in _ACCOUNTS:
            settings[account] = Quiet({"api_key": self.keys.get(account, Secret("")).reveal()})
        for place, value in self.values.items():
            *outer, last = place.split(".")
            inner: dict[str, Any] = settings
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = value
        settings["proxy"] = self.proxy.reveal()
        settings["journal"] = journal
        settings["simulated"] = self.simulated
        # A simulator of a demo bans nobody, and leaves nothing behind.
        settings["host_folder"] = "" if self.simulated else str(state_folder() / "accounts")
        return settings


def state_folder() -> Path:
    """The user's folder for what programs remember: `$XDG_STATE_HOME/overheard`, else `~/.local/state/overheard`."""
    base = os.environ.get("XDG_STATE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".local" / "state") / "overheard"


def journal_folder(database: Path | None, said: str | None = None) -> str:
    """The journal's folder: as said (`OVERHEARD_JOURNAL`), else beside the store's file, else in the state folder.

    Args:
        database: The store's file; None: it has none.
        said: None or empty: nothing was said.
    """
    if said:
        return said
    return f"{database}.journal" if database is not None else str(state_folder() / "journal")


def money(name: str, amount: str | int | Decimal) -> int:
    """Micro-dollars of a dollar amount such as `"5.00"`, `5` or `Decimal("0.0015")`; floats are refused.

    Raises:
        ConfigError: Not an amount, negative, or more than six decimals; names `name`.
    """
    micro = _micro(name, amount)
    if micro != micro.to_integral_value():
        raise ConfigError(f"{name}: {amount!r} has more than six decimals", field=name)
    return int(micro)


def _micro(name: str, amount: Any) -> Decimal:
    if isinstance(amount, (float, bool)) or not isinstance(amount, (str, int, Decimal)):
        raise ConfigError(f'{name}: {amount!r} is not money: write a text such as "5.00" or a Decimal', field=name)
    try:
        value = Decimal(amount.strip().removeprefix("$") if isinstance(amount, str) else amount)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0 or value > 10**9:
        raise ConfigError(f"{name}: {amount!r} is not a dollar amount such as 5.00", field=name)
    return value * 1_000_000


def environment(*, dotenv: bool = True) -> Quiet:
    """The process's variables, over those of `.env` in the working directory.

    Raises:
        ConfigError: `.env` is there and cannot be read.
    """
    variables = Quiet()
    if dotenv and Path(".env").is_file():
        try:
            variables.update({name: value for name, value in dotenv_values(".env").items() if value is not None})
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f".env cannot be read: {error}", field=".env") from error
    variables.update(os.environ)
    return variables


def _key(variable: str, variables: Mapping[str, str]) -> Secret:
    key = Secret(variables.get(variable, "").strip())
    if not key.sendable:
        raise ConfigError(
            f"{variable}: the key contains a space or a character that no header can carry", field=variable
        )
    return key


def _proxy(variable: str, variables: Mapping[str, str]) -> Secret:
    proxy = Secret(variables.get(variable, "").strip())
    if proxy and _origin(proxy.reveal()) is None:
        raise ConfigError(f"{variable}: is not an http(s) URL such as http://proxy.example:3128", field=variable)
    return proxy


def _base_url(variable: str, url: str) -> str:
    """The rules of the engine's `check_base_url`. The value is in no error: somebody may have pasted a key there."""
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        raise ConfigError(f"{variable}: contains a space, a control character or a backslash", field=variable)
    origin = _origin(url)
    if origin is None:
        raise ConfigError(f"{variable}: is not an http(s) URL", field=variable)
    scheme, host = origin
    if scheme == "http" and not _is_this_machine(host):
        raise ConfigError(f"{variable}: must be https (http is allowed to a loopback address only)", field=variable)
    authority = url.split("://", 1)[1].split("/", 1)[0]
    if "@" in authority or "?" in url or "#" in url:
        raise ConfigError(f"{variable}: must not carry a user name, a query or a fragment", field=variable)
    return url.rstrip("/")


def _origin(url: str) -> tuple[str, str] | None:
    """Scheme and host; None when it is no http(s) URL."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its message would quote the URL
        return None
    return (parts.scheme, host) if parts.scheme in ("http", "https") and host else None


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in limits.items():
        if name in SWITCHES:
            if not isinstance(value, bool):
                raise ConfigError(f"{name}: must be True or False", field=name)
            values[SWITCHES[name]] = value
        elif name in CHOICES:
            place, words = CHOICES[name]
            if value not in words:
                raise ConfigError(f"{name}: {value!r} is none of {', '.join(words)}", field=name)
            values[place] = value
        elif name not in LIMITS:
            known = ", ".join([*LIMITS, *SWITCHES, *CHOICES])
            raise ConfigError(f"unknown limit '{name}'; the limits are {known}", field=name)
        elif isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{name}: must be a whole number ({LIMITS[name][1]})", field=name)
        else:
            values[LIMITS[name][0]] = value
    return values


def _prices_file(path: str) -> Any:
    try:
        # Numbers as Decimal: 0.0015 must not pass through a float.
        return json.loads(Path(path).read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"OVERHEARD_PRICES: {path}: {error.strerror or error}", field="OVERHEARD_PRICES") from error
    except ValueError as error:
        raise ConfigError(f"OVERHEARD_PRICES: {path} is not JSON: {error}", field="OVERHEARD_PRICES") from error


def _price_table(table: Any, where: str) -> dict[str, dict[str, int]]:
    """Dollars per million tokens (`input`, …) or per unit (`search`, `record`, `request`) to micro-dollars."""
    if not isinstance(table, Mapping):
        raise ConfigError(
            f'{where}: must map a model to its prices, such as {{"gpt-4.1": {{"input": "2.00"}}}}', field=where
        )
    checked: dict[str, dict[str, int]] = {}
    for model, price in table.items():
        if not isinstance(price, Mapping):
            raise ConfigError(f"{where}: {model}: must be a mapping of {', '.join(_PRICE_FIELDS)}", field=where)
        checked[str(model)] = {}
        for name, amount in price.items():
            place = f"{where}: {model}.{name}"
            if name in _PRICE_COUNTS and isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0:
                checked[str(model)][name] = amount
            elif name in _PRICE_FIELDS:
                checked[str(model)][name] = money(place, amount)
            else:
                raise ConfigError(
                    f"{place}: unknown; the fields are {', '.join(_PRICE_FIELDS + _PRICE_COUNTS)}", field=where
                )
    return checked
