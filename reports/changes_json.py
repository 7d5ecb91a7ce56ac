"""What changed between two runs as one JSON object: what `diff --json` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from gaussprobe.changes import INTERVALS, MEASURES, Change, Changes, SiteChange
from gaussprobe.reports.json_form import strict
from gaussprobe.types import Metadata
from gaussprobe.version import __version__


def to_json(found: Changes) -> dict[str, Any]:
    """Changes as an object that strict JSON can hold.

    Args:
        found: the changes.

    Returns:
        The keys `gaussprobe, first, second, sites, only_first, only_second, warnings`; `sites` by falling
        change of delta, outputs of nonlinearities after the others. What is under `first` and `second` of a
        site has the form it has in `scan --json`; `difference` is the second less the first. Numbers that are
        not finite are strings, as there.
    """
    return {
        "gaussprobe": __version__,
        "first": _run(found.first, found.step_first),
        "second": _run(found.second, found.step_second),
        "sites": [_site(site) for site in found.sites],
        "only_first": list(found.only_first),
        "only_second": list(found.only_second),
        "warnings": list(found.warnings),
    }


def dumps(found: Changes) -> str:
    """The same as text, indented, without a final newline."""
    return json.dumps(to_json(found), indent=2, allow_nan=False)


def _run(metadata: Metadata, step: int) -> dict[str, Any]:
    return {
        "model": metadata.model,
        "step": step,
        "view": metadata.view,
        "seed": metadata.seed,
        "data": strict(metadata.data),
    }


def _site(site: SiteChange) -> dict[str, Any]:
    return {
        "site": site.site,
        "kind": list(site.kind),
        **{name: _both(site, name) for name in ("verdict", "departure", "n_tested", "num_features")},
        **{name: {**_both(site, name), "difference": _numbers(site, name)} for name in MEASURES},
        "notes": list(site.notes),
    }


def _both(site: SiteChange, name: str) -> dict[str, Any]:
    scores = {"first": site.first, "second": site.second}
    found: dict[str, Any] = {
        which: strict(asdict(value) if name in INTERVALS else value)
        for which, score in scores.items()
        for value in [getattr(score, name)]
    }
    return found


def _numbers(site: SiteChange, name: str) -> dict[str, Any]:
    difference: Change = site.differences[name]
    parts = ("change", "low", "high") if name in INTERVALS else ("change",)
    return {part: strict(getattr(difference, part)) for part in parts}
