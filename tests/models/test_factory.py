"""`pkg.mod:fn`: what cannot be imported or called is said in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from gaussprobe.errors import FactoryError
from gaussprobe.models.factory import build, is_reference, load_object


@pytest.fixture(autouse=True)
def current(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "gp_factories.py").write_text(
        "from torch import nn\n"
        "def build(): return nn.Identity()\n"
        "def wrong(): return 3\n"
        "def fails(): raise RuntimeError('first\\nsecond')\n"
        "def leaves(): raise SystemExit(3)\n"
        "def needs(x): return x\n"
        "model = nn.ReLU()\n"
        "value = 3\n"
        "class Nofn(nn.Module): pass\n"
    )
    (folder / "gp_broken.py").write_text("raise ValueError('broken here')\n")
    (folder / "gp_needs_missing.py").write_text("import gp_not_installed\n")
    monkeypatch.chdir(folder)
    for name in ("gp_factories", "gp_broken", "gp_needs_missing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return folder


@pytest.mark.parametrize("text", ["a:b", "a.b:c.d", "_a1:b_2"])
def test_references_are_recognised(text: str) -> None:
    """`pkg.mod:fn` is a reference."""
    assert is_reference(text)


@pytest.mark.parametrize("text", ["a", "a:", ":b", "a/b:c", "a.pt", "1a:b", "a:b:c", "a b:c", ""])
def test_paths_are_no_references(text: str) -> None:
    """Anything else is not."""
    assert not is_reference(text)


def test_objects_load_from_the_current_directory() -> None:
    """The current directory is importable for the time of the import only."""
    before = list(sys.path)
    assert load_object("gp_factories:value") == 3
    assert sys.path == before


def test_module_object_is_a_model() -> None:
    """A reference to a live module is that module."""
    assert isinstance(build("gp_factories:model"), nn.ReLU)


@pytest.mark.parametrize(
    ("reference", "match"),
    [
        ("gp_factories", "not of the form"),
        ("gp_nowhere:build", r"no module 'gp_nowhere'; searched the current directory"),
        ("gp_factories.sub:build", "gp_factories.sub"),
        ("gp_broken:build", "importing gp_broken failed: ValueError: broken here"),
        (
            "gp_needs_missing:build",
            "importing gp_needs_missing failed: ModuleNotFoundError.*gp_not_installed",
        ),
        ("gp_factories:biuld", "has no 'biuld'; did you mean build"),
        ("gp_factories:nofn", "has no 'nofn'; did you mean Nofn[?]$"),
        ("gp_factories:nnn", "has no 'nnn'$"),
        ("gp_factories:modle", "has no 'modle'$"),
        ("gp_factories:value", "int is not a function"),
        ("gp_factories:wrong", "returned an int, not a torch.nn.Module"),
        ("gp_factories:fails", "failed: RuntimeError: first$"),
        ("gp_factories:leaves", "failed: SystemExit: 3"),
        ("gp_factories:needs", "without arguments failed: TypeError"),
    ],
)
def test_failures_are_one_line(reference: str, match: str) -> None:
    """Every failure is a FactoryError of one line that names the reference."""
    with pytest.raises(FactoryError, match=match) as caught:
        build(reference)
    assert reference in str(caught.value)
    assert "\n" not in str(caught.value)
