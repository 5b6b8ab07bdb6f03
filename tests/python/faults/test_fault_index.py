"""The catalogue is whole: every fault has a row that tells the truth, and a test that runs or a reason why not."""

from __future__ import annotations

from fault_index import FAULTS, column, excused, faults_of, python_tests, rust_tests, shown_by, table


def spans(*pairs: tuple[int, int]) -> set[str]:
    return {f"F{number:02}" for first, last in pairs for number in range(first, last + 1)}


NEVER_EXCUSED = spans((10, 13), (33, 49), (54, 56), (59, 64), (67, 75))
MOST_EXCUSED = 8


def test_every_fault_has_a_test_or_a_reason() -> None:
    found, reasons = shown_by(), excused()
    assert [fault for fault in FAULTS if fault not in found and fault not in reasons] == []
    assert not set(found) & set(reasons), "excused, and tested all the same"
    assert set(found) <= set(FAULTS), "a test of a fault that the catalogue does not have"


def test_few_are_excused_and_none_of_those_that_matter() -> None:
    reasons = excused()
    assert len(reasons) <= MOST_EXCUSED
    assert not set(reasons) & NEVER_EXCUSED
    assert all(len(reason) > 20 for (reason,) in reasons.values())


def test_the_table_tells_what_the_sources_say() -> None:
    found, rows = shown_by(), table()
    assert tuple(rows) == FAULTS
    assert all(what and outcome for what, outcome, _ in rows.values())
    wrong = {fault: told for fault, (_, _, told) in rows.items() if told != column(found.get(fault, set()))}
    assert wrong == {}, "run: python tests/python/faults/fault_index.py"


def test_how_names_are_read() -> None:
    assert faults_of("test_f72_f74_a_callback_that_hangs") == ["F72", "F74"]
    assert faults_of("f15_s10_too_many_headers") == ["F15"]
    assert faults_of("s10_f15_too_many_headers") == ["F15"]
    assert faults_of("test_format_f15") == []
    python = """
@pytest.mark.skip(reason="later")
def test_f01_a(): ...
class TestMore:
    @pytest.mark.parametrize("a", [1])
    async def test_f02_b(self, a): ...
@pytest.mark.xfail
def test_f03_c(): ...
@pytest.mark.skipif(elsewhere, reason="Linux only")
def test_f04_d(): ...
def helper_f04(): ...
"""
    assert sorted(python_tests(python)) == ["test_f02_b", "test_f04_d"]
    rust = """
#[test]
#[ignore = "later"]
fn f01_a() {}
#[tokio::test(start_paused = true)]
async fn f02_b() {}
#[ignore] #[test] fn f03_c() {}
fn f04_d() {}
#[test]
fn f05_e() {}
"""
    assert list(rust_tests(rust)) == ["f02_b", "f05_e"]
