"""TorchScript source is refused unless every name in it only computes."""

from __future__ import annotations

import pytest

from gaussprobe.models.scriptcode import RefusedCodeError, check_source

FORWARD = """class M(Module):
  __parameters__ = ["weight", ]
  __buffers__ = []
  weight : Tensor
  training : bool
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    {}
    return x
"""


def source(*lines: str) -> bytes:
    return FORWARD.format("\n    ".join(lines)).encode()


def test_what_torch_writes_passes() -> None:
    """Operators, methods, constants, other functions of the file and special forms pass."""
    check_source(
        source(
            "_0 = __torch__.torch.nn.functional.relu",
            "x0 = torch.conv2d(x, self.weight, None, [1, 1])",
            "_1 = annotate(List[Tensor], [])",
            "_2 = getattr(self, '0')",
            'ops.prim.RaiseException(torch.format("{}D", torch.dim(x)), "builtins.ValueError")',
            "x = (_2).forward(_0(x0, False, ), CONSTANTS.c0)",
        )
    )


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (['x = torch.from_file("file", True, 4)'], "from_file"),
        (['x = ("file").from_file(True, 4)'], "from_file"),
        (['torch.save(x, "file")'], "save"),
        (['x.save("file")'], "save"),
        (['ops.aten.from_file("file")'], "from_file"),
        (["ops.mylib.write(x)"], "ops.mylib"),
        (["ops.profiler._record_function_enter()"], "ops.profiler"),
        (["ops.prim.PythonOp(x)"], "PythonOp"),
        (['_0 = getattr(torch, "zeros")'], "torch.zeros"),
        (['_0 = getattr(x, "sa" + "ve")'], "not written out"),
        (['_0 = getattr(x, "\\x73ave")'], "save"),
        (["t = torch", "x = t.relu(x)"], "'torch' itself"),
        (["torch = x"], "another meaning"),
        (["_0 = __torch__.torch.classes.mylib.Thing()"], "classes"),
        (["print(x)"], "print"),
        (["p = print", "p(x)"], "print"),
        (["fork(self.f, x)"], "fork"),
        (['rpc_async("other", x)'], "rpc_async"),
        (["import os"], "Import"),
        (["_0 = lambda: x"], "Lambda"),
        (['_0 = f"{x}"'], "JoinedStr"),
        (['_0 = b"x"'], "bytes"),
        (['_0 = "never ending'], "cannot be read"),
        (["(" * 1000], "cannot be read"),
    ],
)
def test_what_could_do_more_is_refused(lines: list[str], match: str) -> None:
    """Files, other libraries, aliases of a root, looked-up names and foreign syntax are refused by name."""
    with pytest.raises(RefusedCodeError, match=match):
        check_source(source(*lines))


def test_bytes_that_are_no_text_are_refused() -> None:
    """Source that is no UTF-8 is refused."""
    with pytest.raises(RefusedCodeError, match="no text"):
        check_source(b"\xff\xfe")
