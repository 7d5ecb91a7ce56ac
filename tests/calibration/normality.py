"""What normality normalization does to known laws: the tables of docs/normality.md.

`python -m tests.calibration.normality --out docs/normality.md` (a few seconds).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import distributions as d

import gaussprobe as gp
from gaussprobe.nn.functional import newton_lambda, normality_normalize
from tests.calibration.pages import machine, versions, write

N, CHANNELS = 20_000, 64
Draw = Callable[[tuple[int, int]], torch.Tensor]

LAWS: dict[str, Draw] = {
    "normal": lambda shape: d.Normal(0.0, 1.0).sample(shape),
    "lognormal, sigma .4": lambda shape: d.LogNormal(0.0, 0.4).sample(shape),
    "lognormal, sigma .8": lambda shape: d.LogNormal(0.0, 0.8).sample(shape),
    "gamma(2)": lambda shape: d.Gamma(2.0, 1.0).sample(shape),
    "exponential": lambda shape: d.Exponential(1.0).sample(shape),
    "skew-normal(4)": lambda shape: _skew_normal(shape, 4.0),
    "Gumbel": lambda shape: d.Gumbel(0.0, 1.0).sample(shape),
    "ReLU of a normal": lambda shape: d.Normal(0.0, 1.0).sample(shape).relu(),
    "logistic": lambda shape: torch.logit(d.Uniform(0.0, 1.0).sample(shape).clamp(1e-7, 1 - 1e-7)),
    "Laplace": lambda shape: d.Laplace(0.0, 1.0).sample(shape),
    "t(5)": lambda shape: d.StudentT(5.0).sample(shape),
    "t(3)": lambda shape: d.StudentT(3.0).sample(shape),
    "uniform": lambda shape: d.Uniform(0.0, 1.0).sample(shape),
    "two peaks at +-2": lambda shape: torch.randn(shape) + 4 * torch.randint(2, shape) - 2,
}


def _skew_normal(shape: tuple[int, int], alpha: float) -> torch.Tensor:
    delta = alpha / (1 + alpha * alpha) ** 0.5
    return delta * torch.randn(shape).abs() + (1 - delta * delta) ** 0.5 * torch.randn(shape)


@dataclass(frozen=True)
class Row:
    """A law: medians over channels, and in how many of them Q-Q R^2 rose."""

    law: str
    lmbda: float
    before: float
    after: float
    rose: int
    negentropy_before: float
    negentropy_after: float


def measure(_: int, seed: int) -> list[Row]:
    """Every law, once."""
    torch.manual_seed(seed)
    rows = []
    for law, draw in LAWS.items():
        x = draw((N, CHANNELS)).to(torch.float64)
        h = (x - x.mean(0)) / x.std(0, correction=0)
        y = normality_normalize(x, 0)
        before, after = gp.stats.qq_r2(x), gp.stats.qq_r2(y)
        rows.append(
            Row(
                law,
                float(newton_lambda(h, 0).median()),
                float(before.median()),
                float(after.median()),
                int((after > before).sum()),
                float(gp.stats.negentropy(x).median()),
                float(gp.stats.negentropy(y).median()),
            )
        )
    return rows


def page(rows: list[Row], *, seed: int, seconds: float) -> str:
    """The page."""
    table = "\n".join(
        f"| {r.law} | {r.lmbda:.2f} | {r.before:.4f} | {r.after:.4f} | {r.rose} of {CHANNELS} "
        f"| {r.negentropy_before:.4f} | {r.negentropy_after:.4f} |"
        for r in rows
    )
    made = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {seconds:.0f} s, seed {seed}"
    return TEXT.format(table=table, made=made, machine=machine(), versions=versions(), n=N, channels=CHANNELS)


TEXT = """# Normality normalization

Layers that standardise, then bend what they standardised towards a normal law, then add noise in training:
Eftekhari & Papyan (2025), *On the Importance of Gaussianizing Representations*, ICML, arXiv:2505.00685.

```python
import gaussprobe as gp

gp.nn.gaussianize(model)          # in place: every BatchNorm, InstanceNorm, LayerNorm and GroupNorm
print(gp.nn.describe(model))      # what was changed, and what could not be and why
gp.nn.restore(model)              # back, bit for bit
```

`gaussprobe gaussianize model.pt -o out.pt` does it to a file. The layers can also be used by themselves,
with the constructors of their counterparts: `gp.nn.BatchNormalNorm1d/2d/3d`, `InstanceNormalNorm1d/2d/3d`,
`LayerNormalNorm`, `GroupNormalNorm`, `SyncBatchNormalNorm`, and `DecorrelatedBatchNormalNorm2d`, which
whitens groups of channels first (Huang et al. 2018).

## What a layer computes

For each group of values (a channel over the batch; an example's features):

1. `h = (x - mean) / sqrt(var + eps)`, the biased variance.
2. One Newton step from 1 on the Yeo-Johnson likelihood: `lambda = 1 - strength * L'(1) / L''(1)`.
3. `y = psi(h; lambda)`, the Yeo-Johnson transform; at lambda = 1 the identity.
4. In training `y + noise * s * z`, z standard normal, `s = mean |y - mean(y)|` without a gradient.
5. `weight * y + bias`. There are no other parameters.

Where batches are tracked, lambda has a running average beside mean and variance, updated in place;
evaluation uses the three and no noise. It starts at 1, so that a changed BatchNorm network computes in
evaluation what it did until it is trained on.

| option | |
|---|---|
| `noise` | xi; .4, and 1 for LayerNormalNorm |
| `noise_kind` | `"scaled"`; `"unscaled"`: `s = sqrt(2 / pi)`; `"gaussian_dropout"`: `y (1 + noise z)` |
| `strength` | alpha, from 0 to 1; with 0 and no noise the layer is its counterpart |
| `compile` | what `torch.compile` makes of the formulas: some seconds for each shape of input, then faster |

`layer.last_lambda` has the lambda of each group of the last pass, `layer.held_share` in how many of them it
was held: within -1 and 3, and at 1 where there is no minimum to step to (a constant group). Statistics are
float32's under float16, bfloat16 and autocast; results have the type of the input. Checkpoints of the
layers of torch.nn load unchanged.

Across processes `gp.nn.SyncBatchNormalNorm.convert_sync_batchnorm(model)` shares statistics.
`torch.nn.SyncBatchNorm.convert_sync_batchnorm` leaves our layers alone: they are no `_BatchNorm`, for it
would put plain standardising in their place. For the same reason `torch.optim.swa_utils.update_bn` does not
reset them.

`torch.compile(model, fullgraph=True)`, `torch.export` and ONNX (`dynamo=True`) work, and so do checkpointing,
autocast and second derivatives; `torch.fx.symbolic_trace` and `jacobian(vectorize=True)` do not.
`nn.TransformerEncoder` never calls its LayerNorms in evaluation, but hands their weights to a kernel; with
LayerNormalNorm, which has a hook that does nothing, it goes the way of training.
[benchmarks](benchmarks.md) has what the layers cost.

## What one Newton step does to known laws

Medians over {channels} channels of {n:,} values. R^2 is that of the normal Q-Q plot, J negentropy in nats.

| law | lambda | R^2 before | R^2 after | channels that rose | J before | J after |
|---|---|---|---|---|---|---|
{table}

The transform has one parameter, and it bends the two halves of h opposite ways: it takes skewness away.
Symmetric heavy or light tails and two peaks leave lambda at 1 and R^2 where it was: they are beyond it.
Values that repeat, as zeros after a ReLU, still repeat afterwards, whence the infinite J. Under strong skew
one step stops short of the minimum.

- Made on {made}, by `python -m tests.calibration.normality --out docs/normality.md`.
- Machine: {machine}.
- {versions}.
"""


def main() -> None:
    """Write the page."""
    write(__doc__, 5, measure, page)


if __name__ == "__main__":
    main()
