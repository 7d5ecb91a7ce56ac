"""gaussprobe.reports.json_form: what `scan --json` prints."""

from __future__ import annotations

import json
import math

from gaussprobe.reports import json_form
from gaussprobe.types import VERDICTS
from tests.reports.training_runs import build_training
from tests.runs import DEPENDENT, build_run


def refuse(name: str) -> None:
    raise AssertionError(f"bare {name}")


def test_keys_are_the_contract() -> None:
    """The keys, and their order, are those documented."""
    document = json_form.to_json(build_run())
    assert list(document) == [
        "gaussprobe",
        "model",
        "view",
        "seed",
        "data",
        "sites",
        "not_captured",
        "warnings",
        "capture",
    ]
    for site in document["sites"]:
        assert list(site) == [
            *("site", "kind", "n_seen", "n_tested", "num_features", "delta", "negentropy", "qq_r2"),
            *(
                "ks_distance",
                "wasserstein",
                "skewness",
                "excess_kurtosis",
                "tests",
                "verdict",
                "departure",
                "notes",
            ),
        ]
        assert (
            list(site["delta"])
            == list(site["negentropy"])
            == ["median", "low", "high", "worst", "worst_unit"]
        )
        for test in site["tests"].values():
            assert list(test) == ["statistic", "pvalue", "rejected_fraction"]
        assert isinstance(site["kind"], list)
        assert site["verdict"] in VERDICTS
    assert [list(item) for item in document["not_captured"]] == [["site", "reason"]] * 2


def test_sites_are_in_execution_order() -> None:
    """Only displays sort."""
    run = build_run()
    assert [site["site"] for site in json_form.to_json(run)["sites"]] == [score.site for score in run.scores]


def test_strict_json_only() -> None:
    """NaN and infinity are strings, what was withheld is null, and no bare name is printed."""
    document = json.loads(json_form.dumps(build_run()), parse_constant=refuse)
    sites = {site["site"]: site for site in document["sites"]}
    assert sites["heads.aux"]["delta"]["median"] == "NaN"
    assert sites["heads.aux"]["delta"]["worst_unit"] is None
    assert sites["heads.quantised"]["negentropy"]["median"] == "Infinity"
    withheld = sites["layers.0.attention.q_proj"]
    assert withheld["tests"]["shapiro_wilk"]["pvalue"] is None
    assert withheld["notes"] == [DEPENDENT]
    assert sites["stem.conv"]["delta"]["median"] == 0.00042
    assert document["data"]["synthetic"] is True


def test_strict_reaches_all_depths() -> None:
    """Non-finite numbers inside lists, tuples and mappings are named too."""
    given = {"a": [math.nan, (math.inf, {"b": -math.inf})], 1: True}
    assert json_form.strict(given) == {"a": ["NaN", ["Infinity", {"b": "-Infinity"}]], "1": True}


def test_dumps_is_deterministic() -> None:
    """Two equal runs give the same text, in ASCII."""
    assert json_form.dumps(build_run()) == json_form.dumps(build_run())
    assert json_form.dumps(build_run(warnings=("é\udcff",))).isascii()


def test_a_watched_run_has_steps_and_series() -> None:
    """Sites have their step, and their source where there is a fixed batch; series follow at the end."""
    for probe in (False, True):
        run = build_training(steps=3, sites=7, probe=probe)
        document = json.loads(json_form.dumps(run), parse_constant=refuse)
        assert list(document)[-4:] == ["capture", "series", "metrics", "events"]
        first = ["step", "source", "site"] if probe else ["step", "site", "kind"]
        assert all(list(site)[:3] == first for site in document["sites"])
        assert [site["step"] for site in document["sites"]] == [score.step for score in run.scores]
        assert [record["site"] for record in document["series"]] == [record.site for record in run.series]
        assert [len(record["quantiles"]) for record in document["series"]] == [
            len(record.quantiles) for record in run.series
        ]
        assert document["metrics"][0] == {"step": 0, "name": "accuracy", "value": run.metrics[0].value}
        assert [event["kind"] for event in document["events"]] == [event.kind for event in run.events]
        assert {event["z"] for event in document["events"]} <= {"NaN", 6.1}
