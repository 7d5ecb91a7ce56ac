"""A laboratory as JSON and on the terminal, and the words of both."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gaussprobe.laboratory import Laboratory
from gaussprobe.propagated import PROBABILITIES
from gaussprobe.reports import laboratory_json, laboratory_text
from gaussprobe.reports import laboratory_words as words
from tests.reports.laboratories import DRAWS, build_laboratory

BROKEN = {layer: 3 * layer for layer in range(9, 15)}


def shown(found: Laboratory, width: int, **options: object) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, _environ={}, highlight=False, **options)  # type: ignore[arg-type]
    laboratory_text.show(found, console)
    return file.getvalue()


def said(found: Laboratory) -> str:
    """All sentences as one."""
    return " ".join(sentence for part in words.sentences(found) for sentence in part)


@pytest.mark.parametrize("width", [80, 140])
def test_golden(width: int, golden: Callable[[str, str], None]) -> None:
    """Sentences and table read as the golden file does."""
    found = build_laboratory(widths=(8, *[4] * 21, 1), nonfinite={20: 5, 21: 7, 22: 9, 23: 9})
    golden(f"laboratory_{width}.txt", shown(found, width))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 140])
@pytest.mark.parametrize("options", [{}, {"force_terminal": True, "color_system": "truecolor"}])
def test_lines_fit_and_end_where_their_words_do(width: int, options: dict[str, object]) -> None:
    """No line is wider than the terminal or ends in blanks, and no number of a row is folded."""
    for found in (build_laboratory(), build_laboratory(nonfinite=BROKEN)):
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown(found, width, **options).splitlines()]
        assert max(map(len, lines)) <= width
        assert all(line == line.rstrip() for line in lines)
        rows = [line for line in lines if re.match(r" +\d+ ", line)]
        assert [int(row.split()[0]) for row in rows] == words.selected(found)


def test_columns_by_width() -> None:
    """At 80 columns both nulls, shape and correlation; at 140 the interval of D, J and the cosine too."""
    narrow, wide = (shown(build_laboratory(), width) for width in (80, 140))
    for word in ("layer", "width", "N(0,1)", "fitted", "sd", "kurt.", "delta", "two inputs"):
        assert word in narrow
    for word in ("skew-", "ness", "nats", "cosine", "D [95 % interval]"):
        assert word in wide
        assert word not in narrow


def test_the_level_stands_above_the_table() -> None:
    """The critical distances of the record, before the first row."""
    found = build_laboratory()
    text = " ".join(shown(found, 80).split())
    assert f"exceeds {found.propagation.critical_distance:.4f}".replace("0.", ".") in text
    assert text.index("One layer alone") < text.index("layer width")


def test_layers_left_out_are_counted() -> None:
    """Of many layers some are shown: first and last, those where something begins; the others are counted."""
    found = build_laboratory(widths=[8] * 130, diagram=False)
    kept = words.selected(found)
    assert {1, 2, 3, 5, 10, 20, 30, 50, 100, 130} <= set(kept)
    assert f"{130 - len(kept)} more layers not shown" in shown(found, 80)
    assert "not shown" not in shown(build_laboratory(widths=[3] * 12), 80)


def test_names_of_what_was_given_are_text() -> None:
    """Neither markup nor an escape sequence of an activation's name reaches the terminal."""
    found = build_laboratory()
    run = dataclasses.replace(found.propagation, activation="[bold]a[/bold]\x1b[31m")
    text = shown(dataclasses.replace(found, propagation=run), 100)
    assert "\x1b" not in text
    assert "[bold]a[/bold]\\x1b[31m" in text


def adjusted(*pvalues: float, fitted: tuple[float, ...] = ()) -> Laboratory:
    """With these adjusted p-values, as many layers as there are."""
    found = build_laboratory(widths=[3] * len(pvalues), diagram=False)
    return dataclasses.replace(found, adjusted_pvalue=pvalues, fitted_adjusted_pvalue=fitted or pvalues)


@pytest.mark.parametrize(
    ("pvalues", "sentence"),
    [
        ((0.5, 0.6, 0.7), "None of the 3 layers can be told from N(0,1) by 600 networks (D at most "),
        ((0.01, 0.01, 0.01), "N(0,1) is rejected at every layer (adjusted p below .05); D is largest, "),
        ((0.6, 0.01, 0.01), "N(0,1) is rejected from layer 2 on (adjusted p below .05), not at layer 1;"),
        (
            (0.6, 0.5, 0.01),
            "N(0,1) is rejected from layer 3 on (adjusted p below .05), not at layers 1 to 2;",
        ),
        ((0.01, 0.5, 0.01), "N(0,1) is rejected at 2 of 3 layers (adjusted p below .05), first 1;"),
        ((0.5,), "The one layer cannot be told from N(0,1) by 600 networks"),
        ((0.01,), "N(0,1) is rejected (adjusted p below .05);"),
        ((0.5, 0.6, math.nan), "None of the 2 layers that could be tested can be told from N(0,1)"),
        ((0.01, 0.01, math.nan), "N(0,1) is rejected at every layer that could be tested (adjusted p"),
        ((math.nan, math.nan), "No layer could be tested."),
    ],
)
def test_down_to_which_layer(pvalues: tuple[float, ...], sentence: str) -> None:
    """Where N(0,1) is rejected is said in one sentence, from adjusted p-values alone."""
    assert sentence in said(adjusted(*pvalues))


def test_scale_and_shape_are_told_apart() -> None:
    """Layers that are normal but not N(0,1) are called so, with their sd."""
    found = said(adjusted(0.01, 0.01, 0.01, fitted=(0.3, 0.4, 0.5)))
    assert "None of the 3 layers can be told from a normal law of any mean and variance" in found
    assert re.search(r"The sd, 1 for N\(0,1\), is 1\.\d\d at layer 1 and [\d.]+ at layer 3\.", found)
    assert "any mean" not in said(adjusted(0.5, 0.6, 0.7))


@given(st.lists(st.sampled_from([0.001, 0.3, math.nan]), min_size=4, max_size=4))
def test_sentences_never_contradict_the_numbers(pvalues: list[float]) -> None:
    """A layer that is named first is the first whose adjusted p is below the level."""
    found = dataclasses.replace(FOUR, adjusted_pvalue=tuple(pvalues))
    text = words.sentences(found)[0][0]
    rejected = [layer for layer, p in enumerate(pvalues, start=1) if p < 0.05]
    assert ("is rejected" in text) == bool(rejected)
    first = re.search(r"from layer (\d)|first (\d)", text)
    if first:
        assert int(first[1] or first[2]) == rejected[0]


FOUR = build_laboratory(widths=[3] * 4, diagram=False)


def test_a_law_known_to_hold_is_rejected_by_chance_alone() -> None:
    """Layer 1 has normal weights: where its variance is 1 too, a rejection there is called chance."""
    found = adjusted(0.01, 0.5, 0.01, fitted=(0.5, 0.5, 0.01))
    told = "In layer 1 it holds by construction: there it is rejected by chance."
    assert told not in said(found)  # its variance is 2
    assert told in said(dataclasses.replace(found, predicted_variance=(1.0, 2.0, 2.0)))
    assert told in said(dataclasses.replace(found, fitted_adjusted_pvalue=(0.01, 0.01, 0.01)))


def test_where_the_setting_lies() -> None:
    """The phase, chi_1 and the edge are told, and what infinitely wide layers tend to."""
    edge = said(build_laboratory())
    assert "On the edge of chaos at sigma_w 1.414, sigma_b 0: chi_1 1.000;" in edge
    assert "edge at this sigma_b is sigma_w 1.414 (every variance is a fixed point)." in edge
    assert "every variance is kept" in edge
    assert "the variance tends to" not in edge
    ordered = said(build_laboratory(widths=[3] * 4, sigma_w=1.0))
    assert "In the ordered phase at sigma_w 1.000, sigma_b 0: chi_1 .5000; the edge at" in ordered
    assert "the variance tends to 0, by a factor e in 1.44 layers" in ordered  # 1 / ln 2
    found = build_laboratory(widths=[3] * 4)
    weibull = said(dataclasses.replace(found, weight_sd=0.95))
    assert (
        "edge of chaos at sd of weights 1.414, sigma_b 0: chi_1 1.000; the edge at this sigma_b is sd"
        in weibull
    )
    nowhere = dataclasses.replace(found.edge, sigma_w=math.nan, reason="chi_1 never reaches 1")
    lost = dataclasses.replace(found.point, phase="undetermined", reason="no fixed point", chi1=math.nan)
    text = said(dataclasses.replace(found, edge=nowhere, point=lost))
    assert (
        "is undetermined (no fixed point); there is no edge at this sigma_b (chi_1 never reaches 1)." in text
    )


def test_layers_that_are_not_finite_are_named() -> None:
    """The first is in the headline, with its networks; their rows say n/a; neighbours share one reason."""
    found = build_laboratory(nonfinite=BROKEN)
    assert said(found).startswith(
        f"Values are NaN or infinite from layer 9 on, there in 27 of {DRAWS} networks."
    )
    text = " ".join(shown(found, 80).split())
    assert (
        "- layers 9 to 14: 27 of 600 networks are NaN or infinite at the first, 42 networks at the last"
        in text
    )
    assert re.search(r"^ +9 +4 +n/a +n/a +n/a +n/a +n/a", shown(found, 80), re.MULTILINE)


def test_json() -> None:
    """The keys of the contract, in order; one layer to each of the record, quantiles at the probabilities."""
    found = build_laboratory()
    text = laboratory_json.dumps(found)
    assert text.isascii()
    document = json.loads(text)
    assert (
        list(document)[:17]
        == (
            "gaussprobe activation weight widths draws sigma_w sigma_b seed level critical_distance "
            "fitted_critical_distance phase edge layers diagram warnings notes"
        ).split()
    )
    assert document["phase"]["phase"] == "edge"
    assert document["edge"]["sigma_w"] == pytest.approx(math.sqrt(2))
    assert (
        list(document["layers"][0])
        == (
            "layer width ks_distance pvalue adjusted_pvalue ks_low ks_high fitted_ks_distance "
            "fitted_pvalue fitted_adjusted_pvalue mean sd skewness excess_kurtosis delta negentropy qq_r2 "
            "wasserstein tests "
            "quantiles correlation predicted_variance predicted_correlation n_nonfinite reason"
        ).split()
    )
    for law, layer, p in zip(found.propagation, document["layers"], found.adjusted_pvalue, strict=True):
        assert layer["ks_distance"] == law.ks_distance
        assert layer["adjusted_pvalue"] == p >= layer["pvalue"]
        assert len(layer["quantiles"]) == len(document["probabilities"]) == len(PROBABILITIES)
        assert set(layer["tests"]) == set(law.tests)
        assert list(layer["correlation"])[:4] == ["correlation", "low", "high", "cosine"]
    grid = document["diagram"]
    assert len(grid["chi1"]) == len(grid["sigma_b"]) == len(grid["edge"])
    assert {len(row) for row in grid["chi1"]} == {len(grid["sigma_w"])}


def test_json_is_strict() -> None:
    """NaN and infinities are strings wherever they are, and what there is none of is null."""
    found = build_laboratory(nonfinite=BROKEN, diagram=False)

    def refuse(name: str) -> None:
        pytest.fail(f"a bare {name}")

    document = json.loads(laboratory_json.dumps(found), parse_constant=refuse)
    assert document["diagram"] is None
    assert document["first_nonfinite"] == 9
    assert document["layers"][8]["ks_distance"] == document["layers"][8]["quantiles"][0] == "NaN"
    assert document["layers"][8]["n_nonfinite"] == 27
    assert document["phase"]["correlation_depth"] == "Infinity"
    one = dataclasses.replace(found, propagation=dataclasses.replace(found.propagation, correlations=()))
    assert json.loads(laboratory_json.dumps(one))["layers"][0]["correlation"] is None
    assert "correlation" not in said(one).split("In infinitely")[0]
