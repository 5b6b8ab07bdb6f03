"""The environment: precedence, errors that name the variable, and keys that never print."""

from __future__ import annotations

import pickle
from decimal import Decimal
from pathlib import Path

import pytest
from overheard.errors import ConfigError
from overheard.settings import Secret, Settings, money


def test_the_environment_wins_over_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-file\nBRIGHTDATA_API_KEY=file-only\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    monkeypatch.delenv("BRIGHTDATA_API_KEY", raising=False)
    settings = Settings.load().to_json_dict()
    assert settings["openai"]["api_key"] == "from-environment"
    assert settings["brightdata"]["api_key"] == "file-only"


def test_values_land_where_the_engine_reads_them() -> None:
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1/", "GEMINI_DATASET_ID": "gd_x", "OVERHEARD_EXTRACTION_MODEL": "m"}
    settings = Settings.load(env, brightdata_triggers=3, charge_error_rows=True).to_json_dict(journal="j")
    assert settings["openai"]["base_url"] == "http://127.0.0.1:1/v1"
    assert "base_url" not in settings["anthropic"]  # the engine knows the default
    assert settings["datasets"] == {"gemini_dataset_id": "gd_x", "charge_error_rows": True}
    assert settings["brightdata"]["max_triggers"] == 3
    assert (settings["extraction_model"], settings["journal"], settings["simulated"]) == ("m", "j", False)


def test_keys_do_not_print() -> None:
    settings = Settings.load({"OPENAI_API_KEY": "sk-canary"})
    assert "canary" not in repr(settings) + str(settings) + f"{settings.keys['openai']}"
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Secret("sk-canary"))


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"OPENAI_BASE_URL": "localhost"}, "OPENAI_BASE_URL"),
        ({"ANTHROPIC_API_KEY": "two words"}, "ANTHROPIC_API_KEY"),
        ({"OVERHEARD_PRICES": "none.json"}, "OVERHEARD_PRICES"),
    ],
)
def test_errors_name_the_variable_and_no_key(env: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        Settings.load(env)
    assert "two words" not in str(caught.value)


def test_prices_are_dollars_in_and_micro_dollars_out(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"gpt-x": {"input": 2.5, "output": "10"}, "brightdata/chatgpt": {"record": 0.0015}}')
    settings = Settings.load({"OVERHEARD_PRICES": str(path)}, prices={"gpt-x": {"input": Decimal("3")}})
    assert settings.prices == {"gpt-x": {"input": 3_000_000}, "brightdata/chatgpt": {"record": 1_500}}
    with pytest.raises(ConfigError, match=r"gpt-x\.inputs: unknown"):
        Settings.load({}, prices={"gpt-x": {"inputs": "1"}})


def test_unknown_limits_are_errors() -> None:
    with pytest.raises(ConfigError, match="unknown limit 'speed'"):
        Settings.load({}, speed=3)
    with pytest.raises(ConfigError, match="group_commit: must be a whole number"):
        Settings.load({}, group_commit="9")


@pytest.mark.parametrize("amount", [1.5, True, "-1", "x", "0.0000001", "NaN", None])
def test_floats_and_nonsense_are_not_money(amount: object) -> None:
    with pytest.raises(ConfigError, match="max_cost"):
        money("max_cost", amount)  # type: ignore[arg-type]


def test_money_is_exact() -> None:
    assert [money("x", amount) for amount in ("5.00", "$0.0015", 2, Decimal("0.000001"))] == [
        5_000_000,
        1_500,
        2_000_000,
        1,
    ]
