"""Made-up inputs for a model that comes without any: shapes inferred from the model, numbers from N(0, 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import torch
from torch import nn

from gaussprobe.errors import DataError
from gaussprobe.models.batches import ForwardParameters, first_tensor, leaves, map_tensors
from gaussprobe.models.dtypes import float_dtype
from gaussprobe.models.inputs import DEFAULT_BATCH_SIZE, Inputs, describe
from gaussprobe.models.layers import first_known, first_parametric, uninitialised
from gaussprobe.models.shapes import Candidate, candidates
from gaussprobe.models.trial import fits
from gaussprobe.models.wording import first_line

_EXAMPLES = 2_048
_FEWEST_EXAMPLES = 256
_MOST_NUMBERS = 2**26
_MOST_NUMBERS_IN_BATCH = 2**23
_MOST_LEAVES = 64  # tensors of a batch kept on the model
_MOST_PARTS = 1_024
_DEEPEST = 8
_ATTRIBUTES = ("example_inputs", "dummy_inputs", "example_input_array")


class SyntheticBatches:
    """Batches drawn lazily from an own generator: the same numbers on every walk.

    Args:
        template: a batch of at least one example, whose tensors are replaced example by example.
        ids: upper bound (exclusive) of integer inputs; None draws from the template's own integers.
        n_examples: examples in all.
        batch_size: examples per batch.
        seed: seed of the generator.
        batch_dim: dimension the examples run along.
    """

    def __init__(
        self,
        template: Any,
        *,
        ids: int | None,
        n_examples: int,
        batch_size: int,
        seed: int,
        batch_dim: int = 0,
    ) -> None:
        self.template = template
        self.ids = ids
        self.n_examples = n_examples
        self.batch_size = batch_size
        self.seed = seed
        self.batch_dim = batch_dim

    def __len__(self) -> int:
        return -(-self.n_examples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self.seed)
        for start in range(0, self.n_examples, self.batch_size):
            examples = min(self.batch_size, self.n_examples - start)
            yield map_tensors(lambda tensor, n=examples: self._drawn(tensor, n, generator), self.template)  # type: ignore[misc]

    def _drawn(self, tensor: torch.Tensor, examples: int, generator: torch.Generator) -> torch.Tensor:
        if tensor.dim() <= self.batch_dim:
            return tensor
        shape = list(tensor.shape)
        shape[self.batch_dim] = examples
        if tensor.is_floating_point() or tensor.is_complex():
            # Half precision is drawn in float32: not every dtype has a normal generator on the CPU.
            wide = tensor.dtype if tensor.dtype == torch.float64 or tensor.is_complex() else torch.float32
            return torch.randn(shape, generator=generator, dtype=wide).to(tensor.dtype)
        if self.ids is not None:
            return torch.randint(0, self.ids, shape, generator=generator, dtype=tensor.dtype)
        # Masks and ids of an example keep the values the author chose.
        values = tensor.flatten()
        return values[torch.randint(0, values.numel(), shape, generator=generator)]


def infer(module: nn.Module, *, seed: int, n: int | None = None) -> Inputs:
    """Made-up inputs for a model: `example_inputs` and their kin first, else the first parametric layer.

    Unknown sizes (the side of an image, the length of a sequence) are tried over usual ones. The model's
    training flags and buffers and the global random state are as before.

    Args:
        module: the model.
        seed: seed of the numbers.
        n: examples in all; None for 2,048, fewer (at least 256) where inputs are large.

    Returns:
        The inputs, drawn lazily; `description["synthetic"]` is True and its notes say how they were had.

    Raises:
        DataError: if the model takes several inputs, or none of the usual sizes fits.
        ValueError: if `n` is not a positive integer.
    """
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
        raise ValueError(f"n must be a positive integer; got {n!r}")
    lazy = uninitialised(module)
    if lazy is not None:
        raise DataError(f"inputs cannot be made up: {lazy} takes its shape from its first input; pass --data")
    notes: list[str] = []
    for attribute in _ATTRIBUTES:
        found = _attribute(module, attribute)
        if found is None:
            continue
        if not _is_bounded(found):
            notes.append(f"the model's {attribute} is no batch of at most {_MOST_LEAVES} tensors: not used")
            continue
        template = map_tensors(lambda tensor: tensor.detach().cpu(), found)
        if _usable(module, template):
            how = f"shapes taken from the model's {attribute}"
            fixed = getattr(module, "fixed_batch", None)  # of a program that takes no other
            return _inputs(template, None, how, notes=notes, seed=seed, n=n, kind=attribute, fixed=fixed)
        notes.append(f"the model's {attribute} did not fit its forward and was not used")
    candidate, how = _inferred(module)
    template = candidate.example(float_dtype(module))
    return _inputs(
        template,
        candidate.ids,
        how,
        notes=notes,
        seed=seed,
        n=n,
        kind="inferred",
        batch_dim=candidate.batch_dim,
    )


def _attribute(module: nn.Module, name: str) -> Any:
    """What the model's author kept as a batch, or None."""
    try:
        found = getattr(module, name, None)
        found = found() if callable(found) and not isinstance(found, torch.Tensor) else found
    except Exception:  # noqa: BLE001 (a property of the user's model may raise anything)
        return None
    return found if torch.is_tensor(found) or isinstance(found, Mapping | tuple | list) else None


def _is_bounded(found: Any) -> bool:
    """Whether there are tensors in nested containers, and few enough to walk."""
    todo, tensors, seen = [(found, 0)], 0, 0
    while todo:
        value, depth = todo.pop()
        seen += 1
        tensors += torch.is_tensor(value)
        if tensors > _MOST_LEAVES or seen > _MOST_PARTS or depth > _DEEPEST:
            return False
        if isinstance(value, Mapping | tuple | list) and len(value) > _MOST_PARTS:
            return False
        if isinstance(value, Mapping):
            todo.extend((each, depth + 1) for each in value.values())
        elif isinstance(value, tuple | list):
            todo.extend((each, depth + 1) for each in value)
    return tensors > 0


def _usable(module: nn.Module, template: Any) -> bool:
    try:
        first_tensor(template)
        return fits(module, template) is None or fits(module, template, real=True) is None
    except DataError:
        return False


def _inferred(module: nn.Module) -> tuple[Candidate, str]:
    takes = ForwardParameters(module)
    if len(takes.required) > 1:
        raise DataError(
            f"inputs cannot be made up: {takes.describe()} needs {len(takes.required)} inputs "
            f"({', '.join(takes.required)}).\n"
            "Pass --data with those names, or set example_inputs on the model."
        )
    layer = first_parametric(module)
    if layer is None:
        raise DataError(
            "inputs cannot be made up: the model has no parameters to tell a shape from; pass --data"
        )
    title = type(layer).__name__
    tried = candidates(layer, module)
    known = first_known(module)
    if known is not None and known is not layer:
        # A layer of the user's own class may be no layer, such as one that adds positions.
        tried += candidates(known, module)
    if not tried:
        raise DataError(f"inputs cannot be made up: the first layer, {title}, tells no shape; pass --data")
    dtype = float_dtype(module)
    failure: BaseException | None = None
    for real in (False, True):
        for candidate in tried:
            problem = fits(module, candidate.example(dtype), real=real)
            if problem is None:
                shape = ", ".join(map(str, candidate.shape_with("N")))
                return candidate, f"shape ({shape}) inferred from the first layer, {title}"
            failure = failure or problem
    reason = f" ({first_line(failure, limit=100)})" if failure else ""
    raise DataError(
        f"inputs cannot be made up: none of {len(tried)} usual sizes fits the first layer, {title}{reason}.\n"
        "Pass --data, or set example_inputs on the model."
    )


def _inputs(
    template: Any,
    ids: int | None,
    how: str,
    *,
    notes: list[str],
    seed: int,
    n: int | None,
    kind: str,
    batch_dim: int = 0,
    fixed: int | None = None,
) -> Inputs:
    numbers = sum(
        prod(tensor.shape) // max(1, tensor.shape[batch_dim])
        for tensor in leaves(template)
        if tensor.dim() > batch_dim
    )
    per_example = max(1, numbers)
    n_examples = n or max(_FEWEST_EXAMPLES, min(_EXAMPLES, _MOST_NUMBERS // per_example))
    fitting = max(1, _MOST_NUMBERS_IN_BATCH // per_example)
    batch_size = min(DEFAULT_BATCH_SIZE, 2 ** (fitting.bit_length() - 1), n_examples)
    if fixed:
        batch_size, n_examples = fixed, fixed * -(-n_examples // fixed)
    drawn = "made up: N(0, 1)" if ids is None else f"made up: ids drawn evenly from {ids:,}"
    said = [f"{drawn}; {how}", *notes]
    if batch_dim:
        said.append("the first dimension is the sequence (batch_first=False)")
    return Inputs(
        batches=SyntheticBatches(
            template, ids=ids, n_examples=n_examples, batch_size=batch_size, seed=seed, batch_dim=batch_dim
        ),
        n_examples=n_examples,
        description=describe(
            "synthetic", kind, n_examples=n_examples, batch_size=batch_size, notes=said, synthetic=True
        ),
    )
