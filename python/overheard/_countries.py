"""The ISO 3166-1 alpha-2 country codes, from the packaged list. Holds no other knowledge of locations.

Source of `data/countries.txt`: the 249 officially assigned codes of ISO 3166-1, one a line.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

# Codes that people write and the standard does not assign.
_MENDED = {"UK": "GB", "EN": "GB", "EL": "GR"}


@cache
def country_codes() -> frozenset[str]:
    """All assigned codes, upper case."""
    return frozenset(files("overheard").joinpath("data/countries.txt").read_text("ascii").split())


def country_problem(country: str) -> str | None:
    """What is wrong with `country`, with the mended form where there is one.

    Returns:
        One sentence, or None when the code is assigned and in upper case.
    """
    if country in country_codes():
        return None
    mended = country.strip().upper()
    mended = _MENDED.get(mended, mended)
    if mended in country_codes():
        return f"'{country}' is not an ISO 3166-1 country code: write '{mended}'"
    return f"'{country}' is not an ISO 3166-1 country code such as US or DE"
