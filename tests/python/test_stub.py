"""The hand-written stub says what the extension is, and the error tree covers what the core can raise."""

import subprocess
import sys

from overheard import _core, errors


def test_stub_matches_the_extension() -> None:
    check = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "overheard._core"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout + check.stderr


def test_every_kind_of_the_core_has_a_class() -> None:
    assert set(errors.CLASSES) == set(_core.ERROR_KINDS)


def test_a_kinds_word_is_the_one_that_is_serialised() -> None:
    for kind in _core.ERROR_KINDS:
        key = _core.ExistingKey("q|m|US|1", "failed", error_kind=kind)  # read by serde, shown by the list of words
        assert key.error_kind == kind == key.to_dict()["error_kind"]


def test_every_class_stands_for_a_kind_that_maps_back() -> None:
    for kind, cls in errors.CLASSES.items():
        error = errors.from_fields({"kind": kind, "message": "no"})
        assert type(error) is cls
        assert error.kind == kind
        assert errors.CLASSES[cls("no").kind] in cls.__mro__ or cls is errors.StatusError
