"""Every report of every run: nothing that a run can hold is too odd to be said."""

from __future__ import annotations

import io
import json

from hypothesis import HealthCheck, given, settings
from rich.cells import cell_len
from rich.console import Console

from gaussprobe.reports import html, json_form, terminal, text
from gaussprobe.types import Run
from tests.reports.pages import Checker
from tests.reports.test_json_form import refuse
from tests.runs import runs


@given(run=runs)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_run_can_be_reported(run: Run) -> None:
    """Page, table, JSON and frame are made of any run, well formed and without a warning."""
    Checker(html.render(run))
    for width in (40, 80, 160):
        file = io.StringIO()
        terminal.render(run, Console(file=file, width=width, _environ={}))
        assert max(map(cell_len, file.getvalue().splitlines())) <= width
    json.loads(json_form.dumps(run), parse_constant=refuse)
    assert len(run.to_frame()) == len(run.scores)
    assert text.headline(run).endswith(".")
