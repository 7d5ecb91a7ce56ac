"""What a capture saw, in sentences."""

from __future__ import annotations

import dataclasses

from gaussprobe.reports import trust
from gaussprobe.types import CaptureRecord
from tests.runs import build_run


def record(site: str, calls: int = 10, **fields: int | bool) -> CaptureRecord:
    """A record of an affine site."""
    return CaptureRecord(site=site, kind=("affine",), calls=calls, **{"sampled": True, **fields})  # type: ignore[arg-type]


def told(*records: CaptureRecord) -> str:
    """The sentences of a run with these records."""
    return " ".join(trust.sentences(dataclasses.replace(build_run(), capture=records)))


def test_all_fired_alike() -> None:
    """Where nothing is special there is one sentence."""
    assert told(record("a"), record("b")) == "2 sites fired, 2 of them sampled; each in every pass."
    assert told(record("a", 1)) == "1 site fired, 1 of them sampled; each once."
    assert told() == ""


def test_what_is_special_is_named() -> None:
    """Sites that fired seldom, were reused, overwritten or recomputed are named, the first four."""
    said = told(
        record("a", overwritten=10),
        record("b", 3),
        record("c", sampled=False),
        record("c#2"),
        record("d", recomputed=10),
        record("e", positions_available=3136),
    )
    assert "6 sites fired, 5 of them sampled; the others in 10 passes, fewer in b (3)." in said
    assert "each call a site: c." in said
    assert "Changed in place after 1 site had been seen, and sampled before: a." in said
    assert "no further sample: d." in said
    assert "(pixels, tokens; up to 3,136), one position of each example was drawn" in said
    many = told(*(record(f"s{i}", overwritten=1) for i in range(7)))
    assert "s0, s1, s2, s3 and 3 more." in many
