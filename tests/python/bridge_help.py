"""What the bridge's tests share: sessions that only make host calls."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from overheard import _core, _driver

_driver._START["selftest"] = _core._selftest


async def selftest(handlers: Mapping[str, Callable[..., Any]] | None = None, **spec: Any) -> Any:
    """Drives a self-test session; see `src/python/selftest.rs` for what it can do."""
    options = {name: spec.pop(name) for name in ("on_progress", "on_session") if name in spec}
    return await _driver.drive("selftest", json.dumps(spec), handlers or {}, **options)  # type: ignore[arg-type]
