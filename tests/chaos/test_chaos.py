"""The chaos driver in its quick form; in full: python -m tests.chaos --trials 500."""

import random

import pytest

from tests.chaos.driver import BACKENDS, QUICK_SCALE, play


@pytest.mark.parametrize("seed", range(3))
def test_each_logical_run_is_paid_once(cloud, tmp_path, seed):
    result = play(cloud, tmp_path, list(BACKENDS), 3, random.Random(seed), QUICK_SCALE)
    assert result.problems == []
    assert result.paid == result.runs
