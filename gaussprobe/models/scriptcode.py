"""Reading the source that a TorchScript file carries, without compiling it: every name it uses must be known.

TorchScript's source is a subset of Python, so Python's own parser reads it. As torch's parser is another, no
judgement rests on the shape of the tree alone: a word that names a refused operator is refused wherever it
stands as an attribute, and a file in which such a word hides in a string that is looked up is refused too.
"""

from __future__ import annotations

import ast
import re
import warnings

from gaussprobe.models.operators import allows_aten, allows_prim, is_operator
from gaussprobe.models.wording import printable

_MAX_SOURCE = 2**24
# Functions of TorchScript that a program may name; `print` and remote calls are not among them.
_BUILTINS = frozenset(
    "annotate unchecked_cast uninitialized getattr hasattr isinstance range zip enumerate len int float "
    "bool str complex list dict tuple sorted abs min max round divmod ord chr bin hex oct any all sum "
    "super".split()
)
_TYPES = frozenset(
    "Tensor List Dict Tuple Optional Union Any NoneType number Device Generator Final Module NamedTuple Enum "
    "Interface ModuleInterface Layout ScalarType MemoryFormat Scalar inf nan Future Stream AnyEnumType t "
    "BroadcastingList1 BroadcastingList2 BroadcastingList3".split()
)
_KNOWN = _BUILTINS | _TYPES | {"__annotations__"}
_ROOTS = frozenset({"torch", "ops", "__torch__", "CONSTANTS"})
# Words that no parser may find anywhere, in whatever position: they reach outside of the program.
_NEVER = re.compile(
    r"\b(?:from_file|rpc_async|rpc_sync|rpc_remote|PythonOp|IgnoredPythonOp|load_library)\b|\.\s*save\b"
)
_STATEMENTS = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.arguments,
    ast.arg,
    ast.Return,
    ast.Assign,
    ast.AnnAssign,
    ast.AugAssign,
    ast.For,
    ast.While,
    ast.If,
    ast.With,
    ast.withitem,
    ast.Raise,
    ast.Assert,
    ast.Expr,
    ast.Pass,
    ast.Break,
    ast.Continue,
    ast.Delete,
    ast.Call,
    ast.keyword,
    ast.Attribute,
    ast.Subscript,
    ast.Slice,
    ast.Starred,
    ast.Name,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.IfExp,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.expr_context,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)


class RefusedCodeError(Exception):
    """The source calls something that is not on the allow-list, or cannot be read; the message says what."""


def check_source(source: bytes) -> None:
    """Refuse the source of a TorchScript file if it could do more than compute.

    Args:
        source: one `code/*.py` member of the file.

    Raises:
        RefusedCodeError: naming the operator.
    """
    if len(source) > _MAX_SOURCE:
        raise RefusedCodeError(f"its code is absurdly large ({len(source):,} bytes)")
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedCodeError("its code is no text") from error
    word = _NEVER.search(text)
    if word is not None:
        raise RefusedCodeError(_called(word.group().lstrip(". ")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings
            tree = ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise RefusedCodeError("its code cannot be read") from error
    for node in ast.walk(tree):
        _check_node(node)
    for scope in _scopes(tree):
        _check_names(scope)


def _called(name: str) -> str:
    return f"its code uses {printable(name)}, which is not among the operators that only compute"


def _check_node(node: ast.AST) -> None:
    if not isinstance(node, _STATEMENTS):
        raise RefusedCodeError(f"its code holds {type(node).__name__}, which TorchScript never writes")
    if isinstance(node, ast.Attribute):
        _check_attribute(node)
    elif isinstance(node, ast.ClassDef | ast.FunctionDef):
        if node.decorator_list or (isinstance(node, ast.ClassDef) and node.keywords):
            raise RefusedCodeError("its code has decorators, which TorchScript never writes")
    elif isinstance(node, ast.Constant) and isinstance(node.value, bytes):
        raise RefusedCodeError("its code holds bytes, which TorchScript never writes")
    elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("getattr", "hasattr"):
        _check_lookup(node)


def _check_attribute(node: ast.Attribute) -> None:
    base = node.value
    if isinstance(base, ast.Name) and base.id == "torch":
        # The root of the built-in operators; a local variable of that name is refused with the names.
        if not allows_aten(node.attr):
            raise RefusedCodeError(_called(f"torch.{node.attr}"))
    elif isinstance(base, ast.Name) and base.id == "ops":
        if node.attr not in ("prim", "aten"):
            raise RefusedCodeError(_called(f"ops.{node.attr}"))
    elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == "ops":
        allowed = allows_prim(node.attr) if base.attr == "prim" else allows_aten(node.attr)
        if not allowed:
            raise RefusedCodeError(_called(f"ops.{base.attr}.{node.attr}"))
    elif node.attr == "classes":
        raise RefusedCodeError("its code uses classes of a library (torch.classes)")
    elif is_operator(node.attr) and not allows_aten(node.attr):
        # Every value has the operators as methods: "path".from_file(..).
        raise RefusedCodeError(_called(node.attr))


def _check_lookup(node: ast.Call) -> None:
    name = node.args[1] if len(node.args) > 1 else None
    if not (isinstance(name, ast.Constant) and isinstance(name.value, str)) or "\\" in ast.unparse(name):
        raise RefusedCodeError("its code looks up an attribute under a name that is not written out")
    if (is_operator(name.value) and not allows_aten(name.value)) or name.value in ("classes", "prim"):
        raise RefusedCodeError(_called(name.value))
    if isinstance(node.args[0], ast.Name) and node.args[0].id in _ROOTS:
        raise RefusedCodeError(_called(f"{node.args[0].id}.{name.value}"))


def _scopes(tree: ast.Module) -> list[ast.AST]:
    """The functions of a file, and what stands outside of them."""
    return [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]


def _check_names(scope: ast.AST) -> None:
    """Refuse names that are neither bound in their function nor known to compute only."""
    inside: list[ast.AST] = [scope] if isinstance(scope, ast.FunctionDef) else []
    todo: list[ast.AST] = list(ast.iter_child_nodes(scope))
    while todo:
        node = todo.pop()
        inside.append(node)
        # What a function binds is its own; functions are scopes of the list above.
        if not isinstance(node, ast.FunctionDef):
            todo.extend(ast.iter_child_nodes(node))
    bound = {node.id for node in inside if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in inside if isinstance(node, ast.arg)}
    if bound & _ROOTS:
        raise RefusedCodeError(f"its code gives {sorted(bound & _ROOTS)[0]!r} another meaning")
    rooted = {id(node.value) for node in inside if isinstance(node, ast.Attribute)}
    for node in inside:
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            continue
        if node.id in _ROOTS:
            if id(node) not in rooted:
                raise RefusedCodeError(f"its code passes {node.id!r} itself around")
        elif node.id not in bound | _KNOWN:
            raise RefusedCodeError(_called(node.id))
