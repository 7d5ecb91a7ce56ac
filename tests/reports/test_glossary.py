"""gaussprobe.reports.glossary: what the words mean and who said so."""

from __future__ import annotations

from typing import get_args

import pytest

from gaussprobe import scores
from gaussprobe.reports import glossary
from gaussprobe.types import VERDICTS, Departure, View


def test_every_word_is_explained() -> None:
    """Each verdict, kind of departure and view that a run can hold has a meaning."""
    assert tuple(glossary.VERDICT_MEANING) == VERDICTS
    assert tuple(glossary.DEPARTURE_MEANING) == get_args(Departure)
    assert tuple(glossary.VIEW_MEANING) == get_args(View)


def test_rule_is_that_of_the_scores() -> None:
    """Reports cannot import the rule of verdicts, which needs torch: what they say of it is the same."""
    assert (glossary.BAND_LOW, glossary.BAND_HIGH) == (scores.NEAR, scores.FAR)
    assert (glossary.LOW, glossary.HIGH) == (".0025", ".015")


@pytest.mark.parametrize("name", sorted(glossary.TESTS))
def test_every_test_has_formula_and_reference(name: str) -> None:
    """No test is named without its formula and its source."""
    method = glossary.describe_test(name)
    assert method.name == name
    assert method.formula
    assert any(char.isdigit() for char in method.reference)


def test_unknown_test_is_named() -> None:
    """A test that is not described keeps its name."""
    assert glossary.describe_test("new_test").title == "new test"
