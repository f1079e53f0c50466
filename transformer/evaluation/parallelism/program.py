"""A compiled program, read from the text that XLA prints of it.

JAX hands a compiled program out as text (`jax.stages.Compiled.as_text`) or as a protocol buffer whose schema it does not bring along, so
the text it is. One instruction is one line, in both versions of JAX that are tested:

    ROOT %name = f32[2,3]{1,0} opcode(%operand, %operand), attribute=value, calls=%computation
"""

import math
import re
from dataclasses import dataclass
from functools import cached_property

_HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (.*)$")
_ARRAY = re.compile(r"[a-z]\w*\[([\d,<=]*)\]")
_CALLED = re.compile(r"(calls|to_apply|body|condition|branch_computations|true_computation|false_computation)=(\{[^}]*\}|%?[\w.-]+)")
_NAME = re.compile(r"%([\w.-]+)")
_NOT_READ = re.compile(r'/\*.*?\*/|metadata=\{(?:[^"}]|"[^"]*")*\}')


@dataclass(frozen=True)
class ArrayShape:
    """An array of any type."""

    dimensions: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.dimensions)


@dataclass(frozen=True)
class Instruction:
    """One operation of a computation."""

    name: str
    opcode: str
    shapes: tuple[ArrayShape, ...]
    """Shape of the result; of each part, where the result is a tuple."""
    operands: tuple[str, ...]
    """Names of instructions of the same computation."""
    argument: str
    """What stands between the parentheses: the operands, a parameter's number, a constant's value."""
    attributes: str
    """What follows the parentheses."""

    @property
    def elements(self) -> int:
        """Number of elements of the result."""
        return sum(shape.elements for shape in self.shapes)

    @cached_property
    def called(self) -> dict[str, tuple[str, ...]]:
        """Names of the computations that it calls, by attribute, such as `body`."""
        return {key: tuple(re.findall(r"[\w.-]+", names)) for key, names in _CALLED.findall(self.attributes)}

    def attribute(self, name: str) -> str:
        """What stands behind `name=`, without braces or quotes; empty where nothing does."""
        found = re.search(rf"\b{name}=(?:\{{([^}}]*)\}}|([^,\s]+))", self.attributes)
        return "" if found is None else (found[1] or found[2] or "").strip('"')

    def numbers(self, name: str) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        return tuple(map(int, re.findall(r"\d+", self.attribute(name))))


@dataclass(frozen=True)
class Computation:
    """A function of the program: instructions, each after its operands."""

    instructions: dict[str, Instruction]
    root: Instruction

    @cached_property
    def parameters(self) -> dict[int, Instruction]:
        """Parameters by number."""
        return {int(each.argument): each for each in self.instructions.values() if each.opcode == "parameter"}

    def operand(self, instruction: Instruction, position: int = 0) -> Instruction:
        """The instruction that computes an operand."""
        return self.instructions[instruction.operands[position]]


@dataclass(frozen=True)
class Program:
    """Computations by name, and the one that runs."""

    computations: dict[str, Computation]
    entry: Computation


def read_program(text: str) -> Program:
    """Read the text of a compiled program.

    Raises ValueError where the text holds no program, or a line that is not understood.
    """
    computations: dict[str, Computation] = {}
    entry = None
    instructions: dict[str, Instruction] | None = None
    name, is_entry, root = "", False, None
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name, is_entry, instructions, root = header[2], bool(header[1]), {}, None
        elif instructions is not None and line.startswith("}"):
            if root is None:
                raise ValueError(f"computation {name} has no root")
            computations[name] = Computation(instructions, root)
            entry = computations[name] if is_entry else entry
            instructions = None
        elif instructions is not None:
            instruction = _read_instruction(line)
            instructions[instruction.name] = instruction
            if line.lstrip().startswith("ROOT "):
                root = instruction
    if entry is None:
        raise ValueError("the text holds no compiled program: no computation is the entry")
    return Program(computations, entry)


def _read_instruction(line: str) -> Instruction:
    found = _INSTRUCTION.match(_NOT_READ.sub("", line))
    if found is None:
        raise ValueError(f"not an instruction of a compiled program: {line.strip()[:200]}")
    shape, rest = _split_at(found[3], _end_of_shape(found[3]))
    opcode, _, rest = rest.strip().partition("(")
    argument, attributes = _split_at(rest, _closing(rest))
    argument = argument.removesuffix(")")
    shapes = tuple(ArrayShape(_dimensions(dimensions)) for dimensions in _ARRAY.findall(shape))
    operands = () if opcode in {"parameter", "constant"} else tuple(_NAME.findall(argument))
    return Instruction(found[2], opcode, shapes, operands, argument, attributes)


def _end_of_shape(text: str) -> int:
    return _closing(text[1:]) + 1 if text.startswith("(") else text.index(" ")


def _closing(text: str) -> int:
    """Where the parenthesis that was opened before the text is closed."""
    depth = 1
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return position + 1
    raise ValueError(f"parentheses do not close: {text[:200]}")


def _split_at(text: str, position: int) -> tuple[str, str]:
    return text[:position], text[position:]


def _dimensions(text: str) -> tuple[int, ...]:
    return tuple(int(size.lstrip("<=")) for size in text.split(",") if size)
