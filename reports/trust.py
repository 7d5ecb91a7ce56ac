"""What a capture saw of each site: why the numbers of a run can be trusted, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from gaussprobe.types import CaptureRecord, Run

_NAMED = 4


def sentences(run: Run) -> list[str]:
    """The sites of a run: how many fired and how often, which were reused, overwritten, recomputed.

    Args:
        run: the run.

    Returns:
        Sentences, empty for a run that has no records.
    """
    records = run.capture
    if not records:
        return []
    most = max(record.calls for record in records)
    sampled = [record for record in records if record.sampled]
    drawn = run.metadata.view == "init"  # each pass is of another network
    once = "network" if drawn else "pass"
    fired = f"{_count(len(records), 'site')} fired, {len(sampled)} of them sampled"
    said = [f"{fired}; {_passes(records, most, once)}."]
    reused = sorted({record.site.partition("#")[0] for record in records if "#" in record.site})
    if reused:
        said.append(f"Called more than once in a {once}, each call a site: {_named(reused)}.")
    overwritten = [record.site for record in records if record.overwritten]
    if overwritten:
        said.append(
            f"Changed in place after {_count(len(overwritten), 'site')} had been seen, and sampled before: "
            f"{_named(overwritten)}."
        )
    again = [record.site for record in records if record.recomputed]
    if again:
        said.append(f"Computed again in a backward pass, which is no further sample: {_named(again)}.")
    return [*said, *_positions(sampled, drawn)]


def _passes(records: Sequence[CaptureRecord], most: int, once: str) -> str:
    """How often sites fired."""
    rare = [record for record in records if record.calls < most]
    if not rare:
        return f"each in every {once}" if most > 1 else "each once"
    told = [f"{record.site} ({record.calls})" for record in rare]
    return f"the others in {most} {once}{'es' if once == 'pass' else 's'}, fewer in {_named(told)}"


def _positions(sampled: Sequence[CaptureRecord], drawn: bool) -> list[str]:
    available = max((record.positions_available for record in sampled), default=1)
    if available == 1:
        return []
    where = f"Where a site has positions (pixels, tokens; up to {available:,}),"
    if drawn:
        return [f"{where} the middle one was taken, the same in every network."]
    kept = max(record.positions_per_example for record in sampled)
    how = "one position of each example" if kept == 1 else f"up to {kept} positions of each example"
    return [f"{where} {how} was drawn at random."]


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(name or "(the model)" for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
