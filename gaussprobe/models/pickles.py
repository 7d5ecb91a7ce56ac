"""Reading a pickle without building anything: a symbolic stack machine over its opcodes.

`torch.load(weights_only=True)` decides what to refuse while it builds. Once whole modules are let in, that
is too late: an allowed class can be called with absurd sizes, an instance can be made to stand in for a
function, a class can be patched through `_rebuild_from_type_v2`. So the pickle is first turned into a tree
of plain records, which `gaussprobe.models.stock` judges; only then is it loaded.
"""

from __future__ import annotations

import os
import pickletools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

# Old module names that pickle protocol 2 writes for Python 3's.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MAX_OPCODES = 1_000_000
_MAX_KEY = 2**53


class MalformedPickleError(Exception):
    """The opcodes are not those of a complete pickle."""


class UnsupportedPickleError(Exception):
    """The pickle is complete, but uses opcodes torch's safe reader does not know."""


@dataclass(frozen=True, slots=True)
class Global:
    """A function or class named by the pickle, not imported."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A tensor's memory, kept outside the pickle."""

    type: str
    key: str
    location: str
    numel: int


@dataclass(eq=False, slots=True)
class ListNode:
    items: list[Any] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class DictNode:
    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Made:
    """An object that loading would make: `func(*args)`, then `states` set on it and `items` put into it.

    Args:
        func: what would be called; a class when `new` is True.
        args: its arguments.
        new: whether the object is made by `cls.__new__`, without its constructor.
    """

    func: Any
    args: Any
    new: bool
    states: list[Any] = field(default_factory=list)
    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Tree:
    """What a pickle says: its root, and every object that loading would make, in order."""

    root: Any
    made: tuple[Made, ...]
    storages: tuple[Storage, ...]
    globals: frozenset[str]


def is_scalar(node: Any) -> bool:
    """Whether a node is text, bytes, a number of usual size, a flag or None: what hashes in no time."""
    if isinstance(node, int):
        return abs(node) <= _MAX_KEY
    if isinstance(node, Made):
        # How protocol 2 writes bytes; the arguments are judged with all others.
        return isinstance(node.func, Global) and node.func.name == "_codecs.encode"
    return node is None or isinstance(node, str | float)


def kind_of(node: Any) -> str:
    """What a node would become, in a word; never its content, which may be huge."""
    if isinstance(node, Made):
        return node.func.name[:60] if isinstance(node.func, Global) else "an object"
    names = {ListNode: "list", DictNode: "dict", Global: "function", Storage: "tensor"}
    return names.get(type(node), type(node).__name__)


_CONSTANTS: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_VALUES = frozenset({"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"})


def opcodes(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Names and arguments of the opcodes of one pickle, from the file's position to its STOP.

    Raises:
        MalformedPickleError: if the bytes are not a complete pickle.
    """
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(BinaryIO, _Bounded(file)))):
            if count > _MAX_OPCODES:
                raise MalformedPickleError("it has more than a million instructions")
            yield opcode.name, argument
    except (ValueError, IndexError, KeyError, OverflowError, EOFError, MemoryError, struct.error) as error:
        raise MalformedPickleError("its pickle is damaged") from error


def named_globals(file: BinaryIO) -> list[str]:
    """Every function and class that a pickle of any protocol names, sorted; nothing is imported.

    Raises:
        MalformedPickleError: if the bytes are not a complete pickle.
    """
    names: set[str] = set()
    strings: list[str] = []
    memo: dict[int, str] = {}
    for name, argument in opcodes(file):
        if name in ("GLOBAL", "INST"):
            names.add(_dotted(argument))
        elif name == "STACK_GLOBAL":
            names.add(".".join(strings[-2:]))
        elif name == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else ""
        elif name in ("BINGET", "LONG_BINGET") and argument in memo:
            strings.append(memo[argument])
        elif isinstance(argument, str):
            strings.append(argument)
    return sorted(names)


def read_tree(file: BinaryIO) -> Tree:
    """The tree of one pickle, from the file's position to its STOP.

    Args:
        file: binary file at the start of a pickle; left after its STOP.

    Returns:
        The tree. Memoised nodes are shared, so it may hold cycles.

    Raises:
        MalformedPickleError: if the bytes are not a complete pickle.
        UnsupportedPickleError: if it uses opcodes outside what torch's safe reader knows.
    """
    machine = _Machine()
    step = machine.step
    for name, argument in opcodes(file):
        try:
            step(name, argument)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise MalformedPickleError("its pickle is damaged") from error
    if not machine.finished:
        raise MalformedPickleError("its pickle is damaged")
    return Tree(machine.root, tuple(machine.made), tuple(machine.storages), frozenset(machine.globals))


class _Bounded:
    """A file that is never asked for more bytes than it has: a damaged length must not reserve memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        position = file.tell()
        self.end = file.seek(0, os.SEEK_END)
        file.seek(position)
        self.readline = file.readline
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        return self.file.read(min(size, self.end - self.file.tell())) if size >= 0 else b""


class _Machine:
    """A pickle machine whose stack holds records instead of objects."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.made: list[Made] = []
        self.storages: list[Storage] = []
        self.globals: set[str] = set()
        self.root: Any = None
        self.finished = False

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif name == "EMPTY_DICT":
            stack.append(DictNode())
        elif name == "EMPTY_LIST":
            stack.append(ListNode())
        elif name == "EMPTY_SET":
            stack.append(Made(Global("builtins.set"), (ListNode(),), new=False))
        elif name == "TUPLE":
            self.push(tuple(self.pop_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            if len(stack) < count:
                raise MalformedPickleError("its pickle is damaged")
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self.pop_mark()
            target = self.stack[-1]
            if not isinstance(target, ListNode):
                raise MalformedPickleError("it appends to something that is no list")
            target.items.extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            self.set_items(name)
        elif name == "GLOBAL":
            dotted = _dotted(argument)
            self.globals.add(dotted)
            stack.append(Global(dotted))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments = stack.pop()
            node = Made(stack.pop(), arguments, new=name == "NEWOBJ")
            self.made.append(node)
            stack.append(node)
        elif name == "BUILD":
            state = stack.pop()
            target = stack[-1]
            if not isinstance(target, Made):
                raise MalformedPickleError("it sets the state of something that has none")
            target.states.append(state)
        elif name == "BINPERSID":
            stack.append(self.storage(stack.pop()))
        elif name == "STOP":
            self.root = stack.pop()
            # What would be left behind is built by loading, but could not be reached from the root.
            if stack or self.marks:
                raise MalformedPickleError("its pickle is damaged")
            self.finished = True
        elif name != "PROTO":
            raise UnsupportedPickleError(
                f"it was pickled with an instruction ({name}) that torch's safe reader lacks: "
                "save it with the default pickle_protocol"
            )

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def set_items(self, name: str) -> None:
        if name == "SETITEM":
            value, key = self.stack.pop(), self.stack.pop()
            items = [key, value]
        else:
            items = self.pop_mark()
        if len(items) % 2:
            raise MalformedPickleError("its pickle is damaged")
        target = self.stack[-1]
        if not isinstance(target, DictNode | Made):
            raise MalformedPickleError("it puts items into something that is no dict")
        for key in items[::2]:
            if not is_scalar(key):
                raise UnsupportedPickleError(
                    f"a dict in it has a key that is neither text nor a number ({kind_of(key)})"
                )
        target.items.extend(zip(items[::2], items[1::2], strict=True))

    def storage(self, identity: Any) -> Storage:
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            # A legacy file names a module's class and source this way.
            if isinstance(identity, tuple) and identity[:1] == ("module",):
                raise UnsupportedPickleError("it is a whole module in the legacy format")
            raise MalformedPickleError("it refers to something that is no tensor")
        _, kind, key, location, numel, *view = identity
        if not (isinstance(kind, Global) and isinstance(key, str) and isinstance(location, str)):
            raise MalformedPickleError("it refers to something that is no tensor")
        if type(numel) is not int or numel < 0:
            raise MalformedPickleError("a tensor's size is damaged")
        if any(part is not None for part in view):
            raise UnsupportedPickleError("it holds tensors that are views, as torch before 0.4 wrote them")
        storage = Storage(kind.name, key, location, numel)
        self.storages.append(storage)
        return storage


def _dotted(argument: str) -> str:
    module, _, name = argument.partition(" ")
    return f"{_RENAMED.get(module, module)}.{name}"
