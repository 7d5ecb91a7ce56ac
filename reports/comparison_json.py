"""A comparison as one JSON object: what `compare --json` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from gaussprobe.comparison import MEASURES, Comparison, Pair
from gaussprobe.paired import Difference, Ratio
from gaussprobe.reports.json_form import strict
from gaussprobe.version import __version__


def to_json(found: Comparison) -> dict[str, Any]:
    """A comparison as an object that strict JSON can hold.

    Args:
        found: the comparison.

    Returns:
        The keys `gaussprobe, description, seeds, settings, paired, sites, robustness, cost, others, failed,
        warnings`. `paired`, `sites`, `robustness` and `cost` are of the second setting against the first; of
        further ones `others` has the same, by name. Numbers that are not finite are strings, as in
        `scan --json`.
    """
    first, *rest = found.pairs
    return {
        "gaussprobe": __version__,
        "description": dict(found.description),
        "seeds": list(found.seeds),
        "settings": {
            name: {"metrics": {metric: strict(asdict(one)) for metric, one in found.metrics[name].items()}}
            for name in found.settings
        },
        **_pair(first),
        "others": {pair.second: _pair(pair) for pair in rest},
        "failed": [
            {"setting": trial.setting, "seed": trial.seed, "traceback": trial.failure}
            for trial in found.failed
        ],
        "warnings": list(found.warnings),
    }


def dumps(found: Comparison) -> str:
    """The same as text, indented, without a final newline."""
    return json.dumps(to_json(found), indent=2, allow_nan=False)


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "paired": {name: difference(one) for name, one in pair.metrics.items()},
        "sites": [
            {
                "site": site.site,
                "kind": list(site.kind),
                **{
                    measure: strict(dict(site.means[measure]))
                    | {"difference": difference(site.differences[measure])}
                    for measure in MEASURES
                    if measure in site.differences
                },
            }
            for site in pair.sites
        ],
        "robustness": [
            {"at": one.at, "site": one.site, **strict(dict(one.means)), "ratio": difference(one.ratio)}
            for one in pair.robustness
        ],
        "cost": {one.name: strict(dict(one.means)) | {"ratio": difference(one.ratio)} for one in pair.cost},
    }


def difference(one: Difference | Ratio) -> dict[str, Any]:
    """The fields of a difference or ratio; what does not apply is left out."""
    left = {"reason"} if not one.reason else set()
    left |= {"adjusted_pvalue"} if one.adjusted_pvalue is None else set()
    found: dict[str, Any] = strict({name: value for name, value in asdict(one).items() if name not in left})
    main = "ratio" if isinstance(one, Ratio) else "mean"
    return {main: found.pop(main), **found}
