"""A small machine for the pickles that PyTorch writes: it makes plain values and calls nothing.

A pickle is a program for a machine with a stack, whose REDUCE, BUILD, INST, OBJ and NEWOBJ call
any function by its name.  This one knows a few names, all of tensors and of plain containers, and
what each stands for is done here.  Every other name, and every opcode that PyTorch has no use
for, is refused.  Python's unpickler has no part in it; `pickletools`, which only reads, splits
the bytes into opcodes.
"""

import io
import pickletools
from typing import Any, NamedTuple

OPCODES = 200_000  # A network of 300 tensors takes 10,000.
LENGTH = 16 << 20  # Bytes of a pickle: the numbers of its tensors are kept elsewhere.

STORAGES = {  # Name -> NumPy's; bfloat16 is that of ml_dtypes.
    "torch DoubleStorage": "float64",
    "torch FloatStorage": "float32",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
    "torch ShortStorage": "int16",
    "torch CharStorage": "int8",
    "torch ByteStorage": "uint8",
    "torch BoolStorage": "bool",
}


class Storage(NamedTuple):
    """`count` numbers of NumPy's `dtype`, kept under `key`."""

    dtype: str
    key: str
    count: int


class Tensor(NamedTuple):
    """A view of a storage, in numbers, not bytes.  Not yet checked."""

    storage: Storage
    offset: int
    size: tuple
    stride: tuple


class Name(NamedTuple):
    """What a pickle asks for by its module and name, and may have."""

    name: str


class Stack:
    """The machine's stack, with the places of its marks: nothing below the last is reached."""

    def __init__(self):
        self.items, self.marks = [], []

    def pop(self) -> Any:
        """Removes and returns the last value above the last mark."""
        if len(self.items) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("the pickle takes more from its stack than it has put there")
        return self.items.pop()

    def top(self) -> Any:
        """Returns the last value above the last mark."""
        self.items.append(self.pop())
        return self.items[-1]

    def since_mark(self) -> list:
        """Removes the last mark and the values above it, and returns these."""
        if not self.marks:
            raise ValueError("the pickle goes back to a mark that it has not set")
        at = self.marks.pop()
        taken = self.items[at:]
        del self.items[at:]
        return taken


def run(file: io.BytesIO) -> Any:
    """Returns the value of the pickle at the position of a file.

    Containers are dicts, lists and tuples; tensors are Tensor.  A container may hold itself: walk
    with a limit.

    Args:
      file: its position is moved behind the pickle.

    Raises:
      ValueError: an opcode or name that is not known, or a broken pickle.
    """
    stack, memo, size = Stack(), {}, file.getbuffer().nbytes
    for count, (op, arg, at) in enumerate(pickletools.genops(file)):
        if count >= OPCODES:
            raise ValueError(f"the pickle has more than {OPCODES} opcodes")
        if op.name == "STOP":
            break
        if op.name == "FRAME" and arg and arg > size - (at or 0) - 9:
            raise ValueError(f"a FRAME of the pickle claims {arg} bytes, more than there are")
        _step(op.name, arg, stack, memo)
    value = stack.pop()
    if stack.items:
        raise ValueError("the pickle ends with more than one value")
    return value


def _step(op, arg, stack, memo):
    push = stack.items.append
    match op:
        case "PROTO" | "FRAME":
            if op == "PROTO" and arg > 5:
                raise ValueError(f"the pickle is of protocol {arg}: 2 to 5 are known")
        case "NONE" | "NEWTRUE" | "NEWFALSE":
            push({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[op])
        case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
            if op == "LONG1" and arg.bit_length() > 128:
                raise ValueError(f"the pickle holds a number of {arg.bit_length()} bits")
            push(arg)
        case "BINUNICODE" | "SHORT_BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
            push(arg)
        case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
            push({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[op]())
        case "MARK":
            stack.marks.append(len(stack.items))
        case "TUPLE":
            push(tuple(stack.since_mark()))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            push(tuple(reversed([stack.pop() for _ in range(int(op[-1]))])))
        case "APPEND" | "APPENDS":
            new = [stack.pop()] if op == "APPEND" else stack.since_mark()
            _container(stack.top(), list, op).extend(new)
        case "SETITEM" | "SETITEMS":
            new = [stack.pop(), stack.pop()][::-1] if op == "SETITEM" else stack.since_mark()
            _fill(_container(stack.top(), dict, op), new)
        case "BINPUT" | "LONG_BINPUT":
            memo[arg] = stack.top()
        case "MEMOIZE":
            memo[len(memo)] = stack.top()
        case "BINGET" | "LONG_BINGET":
            if arg not in memo:
                raise ValueError(f"the pickle asks for memo {arg}, which it has not set")
            push(memo[arg])
        case "GLOBAL":
            push(_known(arg))
        case "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            if type(name) is not str or type(module) is not str:
                raise ValueError("the pickle asks for something whose name is no text")
            push(_known(f"{module} {name}"))
        case "BINPERSID":
            push(_storage(stack.pop()))
        case "REDUCE":
            args, function = stack.pop(), stack.pop()
            push(_made(function, args))
        case "BUILD":
            state = stack.pop()  # An OrderedDict's attributes: versions of PyTorch's modules.
            if type(stack.top()) is not dict or type(state) is not dict:
                raise ValueError("the pickle sets attributes (BUILD) of what is no OrderedDict")
        case _:
            raise ValueError(f"the pickle holds the opcode {op}, which no tensor needs")


def _container(value, kind, op):
    if type(value) is not kind:
        raise ValueError(f"the pickle does {op} to a {type(value).__name__}")
    return value


def _fill(into, items):
    if len(items) % 2:
        raise ValueError("the pickle holds a key without a value")
    for key, value in zip(items[::2], items[1::2]):
        if type(key) not in (str, int):
            raise ValueError(f"the pickle holds a dict with a key of type {type(key).__name__}")
        into[key] = value


def _known(name) -> Name:
    if name not in STORAGES and name not in MAKERS:
        raise ValueError(
            f"asks for {name[:200]!r}, which is no tensor and no plain container: such a file "
            "can run any program, so it is not read"
        )
    return Name(name)


def _storage(value) -> Storage:
    """Of ("storage", its type, key, device, count), or with a last None of older files."""
    if type(value) is not tuple or len(value) not in (5, 6) or value[0] != "storage":
        raise ValueError("the pickle holds a persistent id that names no storage")
    _, kind, key, device, count, *view = value
    if type(kind) is not Name or kind.name not in STORAGES:
        raise ValueError("the pickle holds a storage of no known type")
    if type(key) is not str or type(device) is not str or type(count) is not int or count < 0:
        raise ValueError("the pickle holds a storage without key, device or count")
    if view not in ([], [None]):
        raise ValueError(f"storage {key[:50]!r} is part of another, as in files before PyTorch 0.4")
    return Storage(STORAGES[kind.name], key, count)


def _made(function, args):
    if type(function) is not Name or function.name not in MAKERS or type(args) is not tuple:
        raise ValueError("the pickle calls something (REDUCE) that is no function")
    return MAKERS[function.name](args)


def _ordered(args):
    """An OrderedDict; Python 2 gives its items at once."""
    built = {}
    if args:
        if len(args) != 1 or type(args[0]) is not list:
            raise ValueError("the pickle makes an OrderedDict of no list")
        for pair in args[0]:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise ValueError("the pickle makes an OrderedDict of no pairs")
            _fill(built, pair)
    return built


def _tensor(args):
    """Of (storage, offset, size, stride), and what training needs beside."""
    if len(args) < 4 or type(args[0]) is not Storage:
        raise ValueError("the pickle makes a tensor without a storage")
    if any(type(a) is not tuple for a in args[2:4]) or len(args[2]) != len(args[3]):
        raise ValueError("the pickle makes a tensor without size and stride")
    if any(type(n) is not int for n in (args[1], *args[2], *args[3])):
        raise ValueError("the pickle makes a tensor whose size is no number")
    return Tensor(*args[:4])


def _parameter(args):
    if len(args) != 3 or type(args[0]) is not Tensor:
        raise ValueError("the pickle makes a parameter of what is no tensor")
    return args[0]


MAKERS = {
    "collections OrderedDict": _ordered,
    "torch._utils _rebuild_tensor": _tensor,  # Before PyTorch 0.4.
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
}
