"""The fault matrix, a few faults of each row; `python -m tests.faults --report` does them all."""

import pytest

from tests.faults.outcome import Outcome
from tests.faults.rows import ROWS


@pytest.mark.parametrize("row", ROWS)
def test_no_fault_does_harm(row, tmp_path, undrawn):
    outcome = ROWS[row](tmp_path, False)
    if outcome.skipped and not outcome.injected:
        pytest.skip(outcome.skipped)
    assert outcome.failures == []
    assert outcome.survived == outcome.injected > 0


def test_a_row_can_fail():
    outcome = Outcome()
    with outcome.fault("harmless"):
        pass
    with outcome.fault("harmful"):
        raise ValueError("oops")
    assert (outcome.injected, outcome.survived) == (2, 1)
    assert outcome.failures == ["harmful: ValueError: oops"]
