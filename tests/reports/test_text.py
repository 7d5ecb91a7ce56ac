"""gaussprobe.reports.text: the words and numbers that reports share."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gaussprobe as gp
from gaussprobe.reports import text
from gaussprobe.types import Run
from tests.runs import NOTED, build_run, noted_run, renamed, short_run, summary, unmeasured


def only(*sites: str) -> Run:
    run = build_run()
    return dataclasses.replace(run, scores=tuple(score for score in run.scores if score.site in sites))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0412, ".0412"),
        (-0.0412345, "-.0412"),
        (0, "0"),
        (-0.0, "0"),
        (1, "1.00"),
        (0.9996, "1.00"),
        (12.345, "12.3"),
        (12345.6, "12,346"),
        (1234567.0, "1.23e+06"),
        (2.5e-5, "2.50e-05"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "n/a"),
    ],
)
def test_number(value: float, expected: str) -> None:
    """Three significant digits, no zero before the point, NaN as n/a."""
    assert text.number(value) == expected


@given(st.floats(-1e300, 1e300))
def test_number_is_close(value: float) -> None:
    """What is written is the number to within half a unit of its third digit, in ASCII."""
    written = text.number(value)
    assert written.isascii()
    assert float(written.replace(",", "")) == pytest.approx(value, rel=0.00501)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.0412, 0.0371, 0.046), (".0412", "[.0371, .0460]")),
        ((0.00001, -0.0002, 0.0003), (".0000", "[-.0002, .0003]")),
        ((-0.00001, -0.0002, 0.0003), (".0000", "[-.0002, .0003]")),
        ((0.184, 0.17, 0.199), (".184", "[.170, .199]")),
        ((0, 0, 0), (".00", "[.00, .00]")),
        ((2e7, 1e7, 3e7), ("2.00e+07", "[1.00e+07, 3.00e+07]")),
        ((math.inf, math.inf, math.inf), ("inf", "")),
        ((0.5, math.nan, math.nan), (".500", "")),
        ((0.5, 0.1, math.inf), (".500", "[.100, inf]")),
        ((math.nan, 0, 1), ("n/a", "")),
    ],
)
def test_interval(numbers: tuple[float, float, float], expected: tuple[str, str]) -> None:
    """An estimate and its limits share their decimals, at most four."""
    assert text.interval(*numbers) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "withheld"),
        (math.nan, "n/a"),
        (0.0, "<1e-4"),
        (9.99e-5, "<1e-4"),
        (1e-4, ".00010"),
        (0.0312, ".031"),
        (0.999, ">.99"),
        (1.0, "1.0"),
    ],
)
def test_pvalue(value: float | None, expected: str) -> None:
    """A bound is written only where it holds."""
    assert text.pvalue(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "withheld"),
        (math.nan, "n/a"),
        (0, "0%"),
        (1e-3, "<1%"),
        (0.171875, "17%"),
        (0.999, ">99%"),
        (1, "100%"),
    ],
)
def test_percent(value: float | None, expected: str) -> None:
    """None and all are said only where they hold."""
    assert text.percent(value) == expected


@given(st.text(alphabet=st.characters()))
def test_plain_is_printable(given_text: str) -> None:
    """Whatever a file holds, what is written prints, can be encoded, and is the same written twice."""
    written = text.plain(given_text)
    assert written.isprintable()
    assert text.plain(written) == written
    assert text.plain(given_text, "ascii").isascii()


def test_headline_names_the_worst() -> None:
    """The sentence counts the layers that count, first says what is broken, and names the worst."""
    assert text.headline(build_run()) == (
        "`heads.aux` holds NaN or infinity. 4 of 9 sites are non-gaussian; the worst, "
        "`encoder.layers.11.self_attention.output.dense#2`, is multimodal (delta .0774 [.0702, .0849])."
    )


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        ((), "No layer could be measured; see what was not captured, and why."),
        (("stem.relu",), "No layer could be measured; see what was not captured, and why."),
        (("stem.conv",), "The one layer is gaussian."),
        (("stem.conv", "stem.relu"), "The one layer is gaussian."),
        (
            ("heads.quantised",),
            "The one layer is non-gaussian; it is discrete (delta .0208 [.0196, .0221]).",
        ),
        (
            ("stem.conv", "heads.quantised"),
            "1 of 2 layers is non-gaussian; the worst, `heads.quantised`, is discrete "
            "(delta .0208 [.0196, .0221]).",
        ),
        (
            ("layers.0:gelu:input", "heads.quantised"),
            "All 2 sites are non-gaussian; the worst, `layers.0:gelu:input`, is right-skewed "
            "(delta .0283 [.0244, .0325]).",
        ),
        (
            ("stem.conv", "stem.norm", "heads.unused"),
            "No layer is shown to be non-gaussian: of 3, 1 gaussian, 1 near-gaussian and 1 undetermined.",
        ),
        (
            ("stem.conv", "heads.aux"),
            "`heads.aux` holds NaN or infinity. No layer is shown to be non-gaussian: of 2, 1 gaussian and "
            "1 undetermined.",
        ),
        (("heads.aux",), "Nothing could be decided: `heads.aux` holds NaN or infinity."),
        (("heads.unused",), "Nothing could be decided: the values are constant."),
        (
            ("layers.0.attention.q_proj",),
            "Nothing could be decided: the interval of delta reaches across .015; more samples may help.",
        ),
        (
            ("heads.aux", "heads.unused"),
            "Nothing could be decided: `heads.aux` holds NaN or infinity; the values are constant "
            "(1 of 2 layers).",
        ),
    ],
)
def test_headline(sites: tuple[str, ...], expected: str) -> None:
    """The sentence is right for every mixture of verdicts."""
    assert text.headline(only(*sites)) == expected


def test_headline_counts_broken_layers() -> None:
    """Several layers with NaN or infinity are counted, the first is named."""
    run = build_run()
    again = tuple(dataclasses.replace(run.scores[9], site=f"head.{index}") for index in range(3))
    sentence = text.headline(dataclasses.replace(run, scores=again))
    assert sentence == "Nothing could be decided: 3 of 3 layers hold NaN or infinity, `head.0` first."
    sentence = text.headline(dataclasses.replace(run, scores=(run.scores[0], *again)))
    assert sentence.startswith("`head.0` and 2 more: they hold NaN or infinity. ")


def test_headline_of_too_few_samples() -> None:
    """Where nothing was measured, the headline says that and why, not that nothing was found."""
    expected = "Nothing could be decided: 5 samples per unit; at least 8 are needed."
    assert text.headline(short_run()) == expected
    run = build_run()
    silent = unmeasured(run.scores[0], notes=())
    found = text.headline(dataclasses.replace(run, scores=(silent,)))
    assert found == "Nothing could be decided: delta could not be measured."
    delta = dataclasses.replace(run.scores[4].delta, low=math.nan, high=math.nan)
    wide = dataclasses.replace(run.scores[4], delta=delta, verdict="undetermined")
    assert text.headline(dataclasses.replace(run, scores=(wide,))) == (
        "Nothing could be decided: delta has no interval, for the reason in the notes."
    )


def test_headline_of_a_real_run_of_too_few_samples() -> None:
    """A scan of five examples gives the reason in its first note, where the headline finds it."""
    run = gp.scan(torch.nn.Sequential(torch.nn.Linear(4, 3)), torch.randn(5, 4))
    assert re.fullmatch(
        r"Nothing could be decided: 5 \w+( per unit)?; at least \d+ are needed\.", text.headline(run)
    )


@pytest.mark.parametrize(
    ("sites", "noun"), [(("a.0", "b"), "layer"), (("a", "b#2"), "site"), (("relu:input", "a"), "site")]
)
def test_noun(sites: tuple[str, ...], noun: str) -> None:
    """What is counted are layers while each is a module's one output, and sites otherwise."""
    one = build_run().scores[0]
    assert text.noun(dataclasses.replace(one, site=site) for site in sites) == noun


def test_departure_of_nothing() -> None:
    """A departure that could not have been found is not given as none."""
    run = build_run()
    assert text.departure(unmeasured(run.scores[0])) == "n/a"
    assert text.departure(run.scores[0]) == "none"
    assert [text.departure(score) for score in run.scores[-2:]] == ["non-finite", "constant"]


def test_worst_unit_of_all_infinite() -> None:
    """Where every unit is infinite none is the worst; a single infinite one is."""
    assert text.worst_unit(summary(math.inf, math.inf, math.inf, math.inf, 0)) is None
    assert text.worst_unit(summary(0.1, 0.0, 0.2, math.inf, 3)) == 3
    assert text.worst_unit(summary(0.1, 0.0, 0.2, 0.3, 3)) == 3


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (("a.b", "c.0"), ""),
        (("a", "a:input"), "Names: `a:input`: what `a` receives."),
        (("a", "a#2"), "Names: `a#2`: the second call of `a`."),
        (("a:input", "a:input#3"), "Names: `a:input#2`: what `a` receives in its second call."),
        ((":relu",), "Names: `a:f`: the function `f` called in `a`."),
        (
            ("a:gelu:input", "a:gelu#2"),
            "Names: `a:input`: what `a` receives. `a#2`: the second call of `a`. "
            "`a:f`: the function `f` called in `a`.",
        ),
    ],
)
def test_name_legend(sites: tuple[str, ...], expected: str) -> None:
    """Parts of names are explained where they occur, and only there."""
    assert text.name_legend(sites) == expected


def test_data_notes() -> None:
    """What was noted of the data is there, without what the banner says; odd content is not an error."""
    assert text.data_notes(noted_run()) == list(NOTED)
    assert text.data_notes(build_run()) == []
    run = build_run(synthetic=False)
    for notes, expected in ((None, []), ("x", []), ([1, None], ["1", "None"])):
        odd = dataclasses.replace(run.metadata, data={"notes": notes})
        assert text.data_notes(dataclasses.replace(run, metadata=odd)) == expected


def test_headline_is_one_line() -> None:
    """A name with a line break or an escape sequence cannot add lines or steer the terminal."""
    run = renamed(build_run(), "encoder.layers.11.self_attention.output.dense#2", "a\n\x1b[2Jb")
    assert r"`a\n\x1b[2Jb`" in text.headline(run)


def test_worst_first() -> None:
    """Non-finite sites lead, then delta falls, then sites without a delta; ties keep their order."""
    layers, activations = text.split(build_run().scores)
    assert [score.site for score in layers] == [
        "heads.aux",
        "encoder.layers.11.self_attention.output.dense#2",
        "layers.0.mlp.up[gate]",
        "layers.0:gelu:input",
        "heads.quantised",
        "layers.0.attention.q_proj",
        "stem.norm",
        "stem.conv",
        "heads.unused",
    ]
    assert [score.site for score in activations] == ["stem.relu", "layers.0:gelu"]


def test_last_step_is_shown() -> None:
    """Of a run of several steps the last is shown, and that is said."""
    run = build_run()
    later = tuple(dataclasses.replace(score, step=1_500) for score in run.scores[:2])
    several = dataclasses.replace(run, scores=run.scores + later)
    assert text.shown(several) == later
    assert text.step_sentence(several) == "Shown: step 1,500, the last of 2 recorded."
    assert text.step_sentence(run) is None


def test_synthetic_sentence() -> None:
    """Made-up inputs are said in capitals; real ones are not mentioned."""
    sentence = text.synthetic_sentence(build_run())
    assert sentence is not None
    assert sentence.startswith("SYNTHETIC INPUTS: the model was fed made-up inputs (N(0, 1); shape")
    assert text.synthetic_sentence(build_run(synthetic=False)) is None


def test_gathered_notes() -> None:
    """A note that several sites share is said once, with its sites."""
    notes = dict(text.gathered_notes(build_run().scores))
    assert notes["1 of 1 unit is constant"] == ["heads.unused"]
    shared = next(sites for note, sites in notes.items() if note.startswith("p-values are withheld"))
    assert shared == ["layers.0.attention.q_proj", "layers.0:gelu:input", "heads.aux"]
