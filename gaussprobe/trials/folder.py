"""A comparison on disk: a folder with its plan, and for each trial a result and the runs behind it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaussprobe.comparison import SiteNumbers, Trial
from gaussprobe.errors import StoreError
from gaussprobe.files import printable, replace_file, why
from gaussprobe.measured import Carried, Cost, Course, Quantiles

# In the folder of a comparison: what it is recognized by.
PLAN = "comparison.json"
_SCHEMA = 2
# Fields of a trial that hold records.
_RECORDS: dict[str, type[Any]] = {
    "sites": SiteNumbers,
    "quantiles": Quantiles,
    "robustness": Carried,
    "courses": Course,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is compared; a folder goes with one plan, but for its seeds.

    Args:
        settings: names, in order.
        description: of what is trained and how, by name: two plans that differ in it are two comparisons.
    """

    settings: tuple[str, ...]
    description: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Where a comparison is kept."""

    path: Path
    plan: Plan

    @classmethod
    def open(cls, path: str | Path, plan: Plan) -> Folder:
        """Make the folder, or go on with the one that is there.

        Raises:
            StoreError: if it cannot be written, or holds something else.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            known = any(folder.iterdir())
        except (OSError, ValueError) as error:
            raise _refusal(folder, error) from error
        if not known:
            replace_file(folder / PLAN, _dump({"schema": _SCHEMA, **dataclasses.asdict(plan)}))
            return cls(path=folder, plan=plan)
        found = cls.read(folder)
        if found.plan != plan:
            raise StoreError(
                f"{printable(str(folder))} holds another comparison: {_unlike(found.plan, plan)}.\n"
                "Choose another folder, or the same settings and options."
            )
        return found

    @classmethod
    def read(cls, path: str | Path) -> Folder:
        """The comparison in a folder.

        Raises:
            StoreError: if there is none.
        """
        folder = Path(path)
        content = _load(folder / PLAN, f"{printable(str(folder))} holds no comparison")
        try:
            plan = Plan(settings=tuple(content["settings"]), description=dict(content["description"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{printable(str(folder))} holds no comparison: {PLAN} is damaged") from error
        return cls(path=folder, plan=plan)

    def result(self, setting: str, seed: int) -> Path:
        """File of a trial's result."""
        return self._place(setting) / f"seed-{seed}.json"

    def watched(self, setting: str, seed: int) -> Path:
        """File of its run over training."""
        return self._place(setting) / f"seed-{seed}.sqlite"

    def measured(self, setting: str, seed: int) -> Path:
        """File of its run on held-out data."""
        return self._place(setting) / f"seed-{seed}.measured.sqlite"

    def begin(self, setting: str, seed: int) -> None:
        """Make room for a trial: what a broken one left goes."""
        place = self._place(setting)
        try:
            place.mkdir(parents=True, exist_ok=True)
            for left in place.glob(f"seed-{seed}.*"):
                left.unlink()
        except OSError as error:
            raise _refusal(place, error) from error

    def keep(self, trial: Trial) -> None:
        """Write a trial's result, whole or not at all.

        Raises:
            StoreError: if it cannot be written.
        """
        path = self.result(trial.setting, trial.seed)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)  # its process may have ended before it began
        except OSError as error:
            raise _refusal(path.parent, error) from error
        replace_file(path, _dump({"schema": _SCHEMA, **dataclasses.asdict(trial)}))

    def trial(self, setting: str, seed: int) -> Trial | None:
        """A trial's result; None for one that did not end."""
        path = self.result(setting, seed)
        if not path.exists():
            return None
        content = _load(path, f"{printable(str(path))} cannot be read")
        try:
            return _trial(content)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"{printable(str(path))} is damaged\ndelete it to have the trial run again"
            ) from error

    def trials(self, seeds: Sequence[int]) -> Iterator[Trial]:
        """Results there are, seeds within settings."""
        for setting in self.plan.settings:
            for seed in seeds:
                found = self.trial(setting, seed)
                if found is not None:
                    yield found

    def seeds(self) -> list[int]:
        """Seeds that any setting has a result of."""
        names = (path.name for path in self.path.glob("*/seed-*.json"))
        return sorted({int(found[1]) for name in names if (found := re.fullmatch(r"seed-(\d+)\.json", name))})

    def _place(self, setting: str) -> Path:
        number = self.plan.settings.index(setting)
        return self.path / f"{number}-{re.sub(r'[^A-Za-z0-9._-]+', '-', setting)[:40]}"


def _trial(content: dict[str, Any]) -> Trial:
    kept = {name: value for name, value in content.items() if name in _fields(Trial)}
    kept["metrics"] = {name: _number(value) for name, value in kept["metrics"].items()}
    for name, record in _RECORDS.items():
        kept[name] = tuple(_made(record, one) for one in kept[name])
    for name in ("cost", "cost_of_first"):
        kept[name] = None if kept[name] is None else _made(Cost, kept[name])
    return Trial(**kept | {"notes": tuple(kept["notes"])})


def _fields(record: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(record)}


def _made(record: type[Any], content: dict[str, Any]) -> Any:
    """A record of names, numbers, and tuples of either."""
    return record(**{name: _read(name, value) for name, value in content.items() if name in _fields(record)})


def _read(name: str, value: Any) -> Any:
    if name == "kind":
        return tuple(value)
    if isinstance(value, list):
        return tuple(one if isinstance(one, int) else _number(one) for one in value)
    return value if name in ("site", "at") or isinstance(value, int) else _number(value)


def _dump(content: dict[str, Any]) -> bytes:
    return (json.dumps(_plain(content), indent=1, allow_nan=False) + "\n").encode()


def _plain(value: Any) -> Any:
    """For JSON: numbers that are not finite as their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _number(value: Any) -> float:
    return float(value)  # "nan", "inf" and "-inf" too


def _load(path: Path, wording: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"{wording}: {printable(why(error))}") from error
    except ValueError as error:
        raise StoreError(f"{wording}: {path.name} is damaged") from error
    if not isinstance(found, dict) or found.get("schema") != _SCHEMA:
        raise StoreError(f"{wording}: {path.name} is not of this version")
    return found


def _unlike(found: Plan, wanted: Plan) -> str:
    if found.settings != wanted.settings:
        return f"settings {', '.join(found.settings)}, not {', '.join(wanted.settings)}"
    names = sorted(
        name
        for name in {*found.description, *wanted.description}
        if found.description.get(name) != wanted.description.get(name)
    )
    name = names[0]
    return f"{name} {found.description.get(name, 'none')}, not {wanted.description.get(name, 'none')}"


def _refusal(path: Path, error: OSError | ValueError) -> StoreError:
    return StoreError(
        f"Cannot write {printable(str(path))}: {printable(why(error))}.\nChoose another folder."
    )
