"""`gaussprobe selftest`: is what scan says of this model to be believed?"""

from __future__ import annotations

import typer

from gaussprobe.cli import options
from gaussprobe.cli.console import (
    Debug,
    abandon_stdout,
    progress,
    results_alone_on_stdout,
    stdout,
)


def selftest(
    model: options.Model,
    data: options.Data = None,
    factory: options.Factory = None,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
    max_samples: options.MaxSamples = 2048,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    seed: options.Seed = 0,
    _debug: Debug = False,
) -> int:
    """Plant known laws around MODEL and its data, and count how they are called."""
    with progress(True) as report, results_alone_on_stdout():
        report("importing torch", 0, None)
        from gaussprobe.selftest import selftest as plant

        result = plant(
            model,
            data,
            max_samples=max_samples,
            seed=seed,
            batch_size=batch_size,
            device=device,
            factory=factory,
            trust_pickle=trust_pickle,
            progress=report,
        )
    from gaussprobe.reports import selftest as shown

    try:
        if json:
            typer.echo(shown.dumps(result))
        else:
            shown.render(result, stdout())
    except (BrokenPipeError, SystemExit):
        abandon_stdout()
    return int(not result.passed)
