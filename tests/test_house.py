"""The house: what imports what, and that its contracts bite."""

from __future__ import annotations

import pkgutil
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gaussprobe as gp

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "pandas", "scipy", "statsmodels", "seaborn")


def python(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "code",
    [
        "import gaussprobe",
        "import gaussprobe.cli.main",
        "from gaussprobe.cli.main import main; assert main(['--help']) == 0",
        "from gaussprobe.cli.main import main; assert main(['scan', '--help']) == 0",
        "from gaussprobe.cli.main import main; assert main(['--version']) == 0",
    ],
)
def test_help_and_import_are_light(code: str) -> None:
    """`import gaussprobe` and `--help` import none of torch, pandas, scipy, statsmodels, seaborn."""
    done = python(f"{code}\nimport sys\nprint('loaded:', [m for m in {HEAVY} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_packages_under_symlinks_import_from_the_root() -> None:
    """`gaussprobe.reports` and `gaussprobe.cli` are the folders at the root."""
    done = python("import gaussprobe.reports as r, gaussprobe.cli as c; print(r.__file__); print(c.__file__)")
    assert done.returncode == 0, done.stderr
    found = [Path(line).resolve().parent for line in done.stdout.splitlines()]
    assert found == [ROOT / "reports", ROOT / "cli"]


def test_public_names_are_there() -> None:
    """Every name of `__all__` can be had, and an unknown one is an AttributeError."""
    import gaussprobe as gp

    assert all(getattr(gp, name) is not None for name in gp.__all__)
    assert set(gp.__all__) <= set(dir(gp))
    with pytest.raises(AttributeError, match="no attribute 'scann'"):
        _ = gp.scann  # type: ignore[attr-defined]


def test_scan_is_the_function_whatever_was_imported_first() -> None:
    """Importing the module gaussprobe.scan does not hide the function gaussprobe.scan."""
    done = python(
        "from gaussprobe.scan import check_arguments\nimport gaussprobe as gp\n"
        "assert callable(gp.scan) and gp.scan.__name__ == 'scan'\n"
        "assert gp.stats.shapiro_wilk is not None"
    )
    assert done.returncode == 0, done.stderr


def test_no_library_name_begins_with_test() -> None:
    """Nothing in the library would be collected by pytest when imported into a test."""
    import inspect
    import pkgutil
    from importlib import import_module

    import gaussprobe as gp
    from gaussprobe.errors import MissingExtraError

    modules = [m.name for m in pkgutil.walk_packages(gp.__path__, "gaussprobe.") if "__main__" not in m.name]
    assert len(modules) > 20
    bad = []
    for name in modules:
        try:
            members = vars(import_module(name))
        except MissingExtraError:  # an adapter whose package is not here
            continue
        bad += [
            f"{name}.{member}"
            for member, value in members.items()
            if member.lower().startswith("test") and (inspect.isclass(value) or inspect.isfunction(value))
        ]
    assert bad == []


def copy_of_house(folder: Path) -> Path:
    """The tracked layout, links kept as links."""
    house = folder / "house"
    house.mkdir()
    shutil.copy(ROOT / "pyproject.toml", house)
    for name in ("gaussprobe", "cli", "reports"):
        shutil.copytree(
            ROOT / name, house / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    return house


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    return python(
        "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as run; "
        "run(['--no-cache'])",
        cwd=house,
    )


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("reports/text.py", "import torch", "never a tensor"),
        ("gaussprobe/stats/shapiro.py", "import gaussprobe.models", "know nothing of the pipeline"),
        ("gaussprobe/capture/layout.py", "import gaussprobe.scores", "one way"),
    ],
)
def test_import_contracts_hold_and_bite(tmp_path: Path, file: str, line: str, contract: str) -> None:
    """lint-imports passes on the house and fails when a line breaks a contract."""
    house = copy_of_house(tmp_path)
    clean = lint_imports(house)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    path = house / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    broken = lint_imports(house)
    assert broken.returncode == 1
    assert any(contract in row and "BROKEN" in row for row in broken.stdout.splitlines())


def test_mypy_bites(tmp_path: Path) -> None:
    """mypy reads the packages behind the links: a wrong type in reports/ is an error."""
    house = copy_of_house(tmp_path)
    path = house / "reports" / "text.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nwrong: int = 'text'\n", encoding="utf-8")
    # Without what the package imports, torch above all, which takes a minute; what is Any then is no error.
    alone = [
        "--follow-imports=skip",
        "--disable-error-code=no-any-return",
        "--disable-error-code=var-annotated",
    ]
    command = [sys.executable, "-m", "mypy", "-p", "gaussprobe.reports", *alone]
    done = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache")],
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    errors = [row for row in done.stdout.splitlines() if ": error:" in row]
    assert len(errors) == 1
    assert "Incompatible types in assignment" in errors[0]


def test_every_package_is_installed() -> None:
    """The list in pyproject.toml is that of the folders: a wheel has them all."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {m.name for m in pkgutil.walk_packages(gp.__path__, "gaussprobe.") if m.ispkg}
    assert set(listed) == found | {"gaussprobe"}
