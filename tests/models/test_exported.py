"""Files of torch.export: read without unpickling, evaluating or compiling anything in them."""

from __future__ import annotations

import copy
import inspect
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gaussprobe.cli.main import main
from gaussprobe.errors import DataError, ModelFileError
from gaussprobe.models import from_python, infer, open_model
from gaussprobe.models.program import ExportedModel, spec_of
from tests.models.conftest import Hostile, listing, pickled
from tests.networks import Residual
from tests.programs import altered, save_export

X = torch.randn(4, 3, 8, 8)
Change = Callable[[dict[str, Any]], None]


class TwoInputs(nn.Module):
    """Takes a tensor and, by keyword, a scale; counts its calls in a buffer; gives two results."""

    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls.add_(1)
        y = self.fc(x) * scale
        return y.view(x.shape[0], -1), y.sum()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network, exported for any batch size."""
    torch.manual_seed(0)
    return save_export(Residual().eval(), tmp_path_factory.mktemp("export") / "net.pt2", X)


@pytest.fixture(scope="module")
def decomposed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, its operators taken apart."""
    folder = tmp_path_factory.mktemp("decomposed")
    return save_export(Residual().eval(), folder / "net.pt2", X, decomposed=True)


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported for batches of four."""
    return save_export(Residual().eval(), tmp_path_factory.mktemp("fixed") / "net.pt2", X, dynamic=False)


def graph(change: Change) -> Callable[[str, bytes], bytes]:
    """Alters the graph of a file."""

    def altering(name: str, data: bytes) -> bytes:
        if not name.startswith("models/"):
            return data
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return altering


def config(folder: str, change: Change) -> Callable[[str, bytes], bytes]:
    """Alters the list of weights or constants of a file."""

    def altering(name: str, data: bytes) -> bytes:
        if not (name.startswith(folder) and name.endswith("_config.json")):
            return data
        content = json.loads(data)
        change(content["config"])
        return json.dumps(content).encode()

    return altering


def same(_name: str, data: bytes) -> bytes:
    return data


def torch_file(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def refused(path: Path, match: str) -> None:
    """Open a file, as a library and as a command, expecting a refusal that leaves the folder as it was."""
    before = listing(path.parent)
    with pytest.raises(ModelFileError, match=match) as caught:
        open_model(path)
    assert str(caught.value).count("\n") <= 1
    assert main(["scan", str(path), "--quiet"]) == 2
    assert listing(path.parent) == before


def test_a_program_computes_the_same(exported: Path, decomposed: Path) -> None:
    """What is opened gives the outputs of the eager model, for other batch sizes too."""
    for path in (exported, decomposed):
        module = open_model(path).module
        assert isinstance(module, ExportedModel)
        net = Residual().eval()
        net.load_state_dict(module.state_dict())
        for batch in (torch.randn(4, 3, 8, 8), torch.randn(7, 3, 8, 8)):
            torch.testing.assert_close(module(batch), net(batch))
        assert list(dict(module.named_parameters())) == list(dict(net.named_parameters()))
        assert torch.equal(module.example_inputs[0], X)


def test_inputs_outputs_and_buffers(folder: Path) -> None:
    """Positional and keyword inputs, several results, and buffers that change are as in the eager model."""
    net = TwoInputs().eval()
    x, scale = torch.randn(4, 6), torch.tensor(2.0)
    module = open_model(save_export(net, folder / "two.pt2", x, scale, dynamic=False)).module
    before = net.calls.item()
    expected = net(x, scale)
    assert list(inspect.signature(module.forward).parameters) == ["x", "scale"]
    for given in (module(x, scale), module(x, scale=scale), copy.deepcopy(module)(x=x, scale=scale)):
        torch.testing.assert_close(given, expected)
    assert module.get_buffer("calls").item() - before >= 2


def test_a_fixed_batch_is_kept(fixed: Path) -> None:
    """A program for one batch size gets only such batches; surplus examples are left out, and named."""
    module = open_model(fixed).module
    inputs = from_python(torch.randn(10, 3, 8, 8), module=module, batch_size=None)
    assert [len(batch) for batch in inputs.batches] == [4, 4]
    assert any("last 2 examples" in note for note in inputs.notes)
    assert all(len(batch[0]) == 4 for batch in infer(module, seed=0, n=10).batches)
    with pytest.raises(ValueError, match="give batches of 4"):
        module(torch.randn(3, 3, 8, 8))


def test_pickled_sample_inputs_are_refused(folder: Path, exported: Path, marker: Path) -> None:
    """Sample inputs that would call a function when unpickled are refused."""
    hostile = torch_file(((Hostile(marker),), {}))
    path = altered(exported, folder / "x.pt2", lambda n, d: hostile if "sample_inputs" in n else d)
    refused(path, "pickled objects")


def test_pickled_weights_are_refused(folder: Path, exported: Path, marker: Path) -> None:
    """A weight that is marked as pickled is refused."""

    def change(weights: dict[str, Any]) -> None:
        weights["conv1.weight"] |= {"use_pickle": True, "path_name": "weight_x"}

    added = {"data/weights/weight_x": torch_file(Hostile(marker))}
    path = altered(exported, folder / "x.pt2", config("data/weights/", change), added)
    refused(path, "pickled object")


@pytest.mark.parametrize("kind", ["opaque_obj_0", "custom_obj_0"])
def test_objects_among_the_constants_are_refused(
    folder: Path, exported: Path, marker: Path, kind: str
) -> None:
    """Constants that are pickled objects, plain or of a library, are refused."""

    def change(constants: dict[str, Any]) -> None:
        constants["thing"] = {"path_name": kind, "is_param": False, "use_pickle": True, "tensor_meta": None}

    added = {f"data/constants/{kind}": pickled(Hostile(marker))}
    refused(altered(exported, folder / "x.pt2", config("data/constants/", change), added), "pickled object")


def test_weights_as_a_hostile_torch_file_are_refused(folder: Path, exported: Path, marker: Path) -> None:
    """The older layout, weights in one file of torch.save, is judged as such a file is."""
    added = {"data/weights/model.pt": torch_file({"conv1.weight": Hostile(marker)})}
    refused(altered(exported, folder / "x.pt2", same, added), "pickled objects")


def test_compiled_code_is_refused(folder: Path, exported: Path) -> None:
    """A shared library in the file would be loaded: the file is refused."""
    refused(
        altered(exported, folder / "x.pt2", same, {"data/aotinductor/model/x.so": b"\x7fELF"}), "compiled"
    )


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.higher_order.cond",
        "torch.serialization.os.system",
        "torch.hub.load",
        "_operator.methodcaller",
        "os.system",
    ],
)
def test_targets_off_the_list_are_refused(folder: Path, exported: Path, target: str) -> None:
    """A node that calls anything but a known operator is refused, naming it."""

    def change(content: dict[str, Any]) -> None:
        content["graph_module"]["graph"]["nodes"][0]["target"] = target

    refused(altered(exported, folder / "x.pt2", graph(change)), target)


def size_call(target: str, *values: Any) -> dict[str, Any]:
    """A node that computes a number of numbers."""
    inputs = [{"name": "", "arg": value, "kind": 1} for value in values]
    return {"target": target, "inputs": inputs, "outputs": [{"as_sym_int": {"as_name": "n"}}], "metadata": {}}


@pytest.mark.parametrize(
    ("node", "match"),
    [
        (size_call("_operator.pow", {"as_int": 10**9}, {"as_int": 10**9}), "absurd power"),
        (size_call("_operator.mod", {"as_string": "%2000000000d"}, {"as_int": 1}), "str, where a size"),
        (size_call("_operator.mul", {"as_ints": [1]}, {"as_int": 10**10}), "list, where a size"),
        (size_call("_operator.mul", {"as_int": 10**30}, {"as_int": 1}), "absurdly large"),
    ],
)
def test_arithmetic_without_bound_is_an_error(
    folder: Path, exported: Path, node: dict[str, Any], match: str
) -> None:
    """Powers, repetitions and formats that would take all time or memory fail at once when they are run."""

    def change(content: dict[str, Any]) -> None:
        content["graph_module"]["graph"]["nodes"].insert(0, node)

    module = open_model(altered(exported, folder / "x.pt2", graph(change))).module
    with pytest.raises(ValueError, match=match):
        module(X)


def test_a_number_for_a_dtype_is_refused(folder: Path, exported: Path) -> None:
    """torch looks a dtype up by its number, whatever the number is, and may crash: none is handed on."""

    def change(content: dict[str, Any]) -> None:
        node = content["graph_module"]["graph"]["nodes"][0]
        given = [("self", node["inputs"][0]["arg"]), ("dtype", {"as_int": 100})]
        node["target"] = "torch.ops.aten.view.dtype"
        node["inputs"] = [{"name": name, "arg": value, "kind": 1} for name, value in given]

    refused(altered(exported, folder / "x.pt2", graph(change)), "number for its dtype")


def test_code_in_names_and_expressions_never_runs(folder: Path, exported: Path, marker: Path) -> None:
    """Symbolic sizes, guards and names, which torch would evaluate or compile, are not: the file opens."""
    attack = f"__import__('os').system('touch {marker}')"

    def change(content: dict[str, Any]) -> None:
        content["guards_code"] = [attack]
        module = content["graph_module"]
        module["graph"]["tensor_values"]["x"]["sizes"][0] = {"as_expr": {"expr_str": attack, "hint": None}}
        module["graph"]["nodes"][0]["name"] = f"x\n{attack}"
        module["graph"]["nodes"][0]["metadata"]["source_fn_stack"] = f"a,{attack}"

    module = open_model(altered(exported, folder / "x.pt2", graph(change))).module
    assert module(X).shape == (4, 4)


def test_nesting_that_imports_is_refused(folder: Path, exported: Path) -> None:
    """torch imports a module to rebuild a defaultdict: here only tuples, lists and dicts are nesting."""
    context = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}
    inner = {"type": "collections.defaultdict", "context": json.dumps(context), "children_spec": []}

    def change(content: dict[str, Any]) -> None:
        entry = content["graph_module"]["module_call_graph"][0]["signature"]
        entry["in_spec"] = json.dumps(
            [1, {"type": "builtins.tuple", "context": "null", "children_spec": [inner]}]
        )

    refused(altered(exported, folder / "x.pt2", graph(change)), "defaultdict|damaged")
    with pytest.raises(ValueError, match="nested"):
        spec_of("[1, 2]")


def test_weights_beyond_their_bytes_are_refused(folder: Path, exported: Path) -> None:
    """A weight that claims more numbers than are stored, or a stride that leaves them, is refused."""

    def more(weights: dict[str, Any]) -> None:
        weights["conv1.weight"]["tensor_meta"]["sizes"][0] = {"as_int": 2**30}

    def offset(weights: dict[str, Any]) -> None:
        weights["conv1.weight"]["tensor_meta"]["storage_offset"] = {"as_int": 1}

    for change in (more, offset):
        refused(altered(exported, folder / "x.pt2", config("data/weights/", change)), "claims")


def test_damaged_copies_open_or_are_refused(folder: Path, exported: Path) -> None:
    """Truncated and bit-flipped copies, with and without mended checksums, give a model or one error."""
    content, path, generator = exported.read_bytes(), folder / "mutated.pt2", random.Random(0)

    def flipped(data: bytes, times: int = 1) -> bytes:
        changed = bytearray(data)
        for _ in range(times if changed else 0):
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        return bytes(changed)

    for attempt in range(90):
        if attempt % 3 == 0:
            path.write_bytes(content[: generator.randrange(len(content))])
        elif attempt % 3 == 1:
            path.write_bytes(flipped(content, generator.choice((1, 1, 8))))
        else:
            altered(exported, path, lambda n, d: flipped(d) if n.endswith((".json", ".pt")) else d)
        try:
            open_model(path)
        except ModelFileError as error:
            assert str(error).count("\n") <= 1  # noqa: PT017


def test_data_of_another_shape_is_an_error(exported: Path) -> None:
    """Data that does not fit is refused with both shapes."""
    module = open_model(exported).module
    with pytest.raises((ValueError, DataError), match=r"\(any, 3, 8, 8\)"):
        module(torch.randn(4, 3, 9, 9))
