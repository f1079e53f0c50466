"""Work and span of a compiled program, counted from its own operations (Blelloch 1996; Cormen et al., "Introduction to Algorithms", 27).

**Work** is the number of scalar operations: arithmetic, comparisons, selections and conversions count 1 each, whatever their type, and a
transcendental function counts 1 too. **Span** is the longest chain of them in which each needs the one before it: the time that the
program would take with as many processors as it can use. Work over span is the most parallelism that any machine could use.

| operation | work | span |
| --- | --- | --- |
| elementwise | elements of the result | 1 |
| product over k | 2 k for each element of the result | 1 + ⌈log2 k⌉: all products at once, then a tree of sums |
| reduction of n to 1 by f | n - 1 times f | ⌈log2 n⌉ times f, a tree |
| scatter of n updates by f | n times f | ⌈log2 (n + 1)⌉ times f, since all may meet in one place; once, where they cannot |
| sort of n by f | n ⌈log2 n⌉ times f | ⌈log2 n⌉ (⌈log2 n⌉ + 1) / 2 times f, a sorting network (Batcher 1968) |
| loop | (body + condition) times trips | the longest chain through all trips: a trip waits only for what it needs of the trip before |
| branch | the largest of the branches | the same |
| copies, slices, gathers, transposes, constants, tuples | 0 | 0 |

An array counts as one value in a chain: what needs any of it needs all of it. What a fusion holds counts as if it stood outside, so span
does not depend on how the compiler has grouped operations.
"""

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Int

from transformer.evaluation.parallelism.program import Computation, Instruction, Program

Depth: TypeAlias = "int | list[Depth]"
"""Length of the longest chain that ends in a value; of each part, for a tuple."""

ELEMENTWISE = frozenset(
    """
    abs acos acosh add and asin asinh atan2 atanh cbrt ceil clamp compare complex convert cosh cosine count-leading-zeros divide erf
    exponential exponential-minus-one floor imag is-finite log log-plus-one logistic maximum minimum multiply negate not or popcnt power
    real reduce-precision remainder round-nearest-afz round-nearest-even rsqrt select shift-left shift-right-arithmetic
    shift-right-logical sign sine sinh sqrt stochastic-convert subtract tan tanh xor
    """.split()
)
FREE = frozenset(
    """
    after-all bitcast bitcast-convert broadcast concatenate constant copy dynamic-slice dynamic-update-slice gather get-tuple-element iota
    opt-barrier pad parameter reshape reverse slice transpose tuple
    """.split()
)


NEVER = -(2**60)
"""Depth of what no chain leads to; `-NEVER` is deeper than any program."""


@dataclass(frozen=True)
class WorkSpan:
    """What a program does, in scalar operations."""

    work: int
    """All of them."""
    span: int
    """The longest chain of dependent ones."""


def work_and_span(program: Program) -> WorkSpan:
    """Count a program's operations.

    Raises ValueError, naming the operation, where one is not known or a loop's number of trips is not.
    """
    return _Counter(program).whole(program.entry)


class _Counter:
    def __init__(self, program: Program) -> None:
        self.computations = program.computations
        self.loops: dict[str, tuple[int, Int[np.ndarray, "parts parts"]]] = {}

    def called(self, instruction: Instruction, attribute: str) -> list[Computation]:
        return [self.computations[name] for name in instruction.called.get(attribute, ())]

    def whole(self, computation: Computation) -> WorkSpan:
        """A computation by itself: its arguments are there from the start."""
        work, depth = self.follow(computation, [0] * len(computation.parameters))
        return WorkSpan(work, _deepest(depth))

    def follow(self, computation: Computation, arguments: list[Depth]) -> tuple[int, Depth]:
        """The work of a computation and the depth of its result, given those of its arguments."""
        work = 0
        depths: dict[str, Depth] = {}
        for instruction in computation.instructions.values():
            operands = [depths[name] for name in instruction.operands]
            match instruction.opcode:
                case "parameter":
                    added, depth = 0, arguments[int(instruction.argument)]
                case "tuple":
                    added, depth = 0, operands
                case "get-tuple-element":
                    added, depth = 0, _part(operands[0], int(instruction.attribute("index")))
                case "fusion" | "call" as opcode:
                    (inner,) = self.called(instruction, "calls" if opcode == "fusion" else "to_apply")
                    added, depth = self.follow(inner, operands)
                case "while":
                    added, depth = self.loop(instruction, operands[0])
                case _:
                    own = self.own(instruction, computation)
                    added, depth = own.work, _deepest(operands) + own.span
            work += added
            depths[instruction.name] = depth
        return work, depths[computation.root.name]

    def loop(self, instruction: Instruction, start: Depth) -> tuple[int, Depth]:
        """The work of a loop, and the depth of each part of what it carries after the last trip, given those before the first."""
        work, chains = self.trip(instruction)
        times = trips(instruction)
        # The last entry stands for the start of the program, which is never deeper.
        depths = np.array([*(_flat(start) if isinstance(start, list) else [start] * (len(chains) - 1)), 0])
        for bit in range(times.bit_length()):
            if times >> bit & 1:
                depths = _longest(chains, depths[:, None])[:, 0]
            chains = _longest(chains, chains)
        return times * work, depths[:-1].tolist()

    def trip(self, instruction: Instruction) -> tuple[int, Int[np.ndarray, "parts parts"]]:
        """The work of one trip of a loop, and the longest chains within it: to each part of what is carried (row) from each part of the
        trip before (column; the last is the start of the program).

        With such matrices the chains through several trips are products of matrices, whose sums are maxima and whose products are sums
        (Baccelli et al. 1992, "Synchronization and Linearity", chapter 3).
        """
        (name,), (body,) = instruction.called["body"], self.called(instruction, "body")
        if name not in self.loops:
            parts = len(instruction.shapes)
            work, alone = self.follow(body, [[NEVER] * parts])
            columns = []
            for part in range(parts):
                begun: list[Depth] = [-NEVER if other == part else NEVER for other in range(parts)]
                columns.append(np.array(_flat(self.follow(body, [begun])[1])) + NEVER)
            columns.append(np.array(_flat(alone)))
            chains = np.stack(columns, axis=1)
            chains = np.concatenate([np.where(chains < 0, NEVER, chains), [[NEVER] * parts + [0]]])
            self.loops[name] = work + sum(self.whole(part).work for part in self.called(instruction, "condition")), chains
        return self.loops[name]

    def own(self, instruction: Instruction, computation: Computation) -> WorkSpan:
        """One instruction, once its operands are there."""
        match instruction.opcode:
            case opcode if opcode in ELEMENTWISE:
                return WorkSpan(instruction.elements, 1)
            case opcode if opcode in FREE:
                return WorkSpan(0, 0)
            case "dot" | "convolution":
                summed = _summed(instruction, computation)
                return WorkSpan(2 * instruction.elements * summed, 1 + _levels(summed))
            case "conditional":
                keys = ("branch_computations", "true_computation", "false_computation")
                branches = [self.whole(branch) for key in keys for branch in self.called(instruction, key)]
                return WorkSpan(max(branch.work for branch in branches), max(branch.span for branch in branches))
            case _:
                times, in_a_row = _applications(instruction, computation)
                (function,) = map(self.whole, self.called(instruction, "to_apply"))
                return WorkSpan(times * function.work, in_a_row * function.span)


def _applications(instruction: Instruction, computation: Computation) -> tuple[int, int]:
    """How often an instruction applies the function that it is given, and how many of these applications follow each other."""
    shape = instruction.shapes[0]
    match instruction.opcode:
        case "map":
            return shape.elements, 1
        case "reduce":
            dimensions = computation.operand(instruction).shapes[0].dimensions
            reduced = math.prod(dimensions[axis] for axis in instruction.numbers("dimensions"))
            return shape.elements * max(reduced - 1, 0), _levels(reduced)
        case "reduce-window":
            window = math.prod(map(int, re.findall(r"\d+", instruction.attribute("window").partition("size=")[2].split(" ")[0])))
            return shape.elements * (window - 1), _levels(window)
        case "scatter":
            update = computation.operand(instruction, len(instruction.operands) - 1).shapes[0]
            windows = instruction.numbers("update_window_dims")
            updates = math.prod(size for axis, size in enumerate(update.dimensions) if axis not in windows)
            return update.elements, 1 if instruction.attribute("unique_indices") == "true" else _levels(updates + 1)
        case "sort":
            levels = _levels(shape.dimensions[instruction.numbers("dimensions")[0]])
            return shape.elements * levels, levels * (levels + 1) // 2
        case opcode:
            name = f"{opcode} {instruction.attribute('custom_call_target')}".rstrip()
            raise ValueError(f"cannot count the operation {name} ({instruction.name}): its work and span are not known")


def _summed(instruction: Instruction, computation: Computation) -> int:
    """Number of products that each element of a dot's or a convolution's result sums."""
    if instruction.opcode == "dot":
        left = computation.operand(instruction).shapes[0].dimensions
        return math.prod(left[axis] for axis in instruction.numbers("lhs_contracting_dims"))
    kernel = computation.operand(instruction, 1).shapes[0]
    _, labels, _ = re.split("_|->", instruction.attribute("dim_labels"))
    return kernel.elements // kernel.dimensions[labels.index("o")]


def trips(loop: Instruction) -> int:
    """How often a loop's body runs.

    Raises ValueError where that is not known when it is compiled.
    """
    found = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if found is None:
        raise ValueError(f"the loop {loop.name} has no number of trips that is known when it is compiled, so it cannot be counted")
    return int(found[1])


def _part(depth: Depth, index: int) -> Depth:
    return depth if isinstance(depth, int) else depth[index]


def _deepest(depth: Depth) -> int:
    return depth if isinstance(depth, int) else max(map(_deepest, depth), default=0)


def _flat(depth: Depth) -> list[int]:
    return [depth] if isinstance(depth, int) else [each for part in depth for each in _flat(part)]


def _longest(later: Int[np.ndarray, "parts between"], earlier: Int[np.ndarray, "between columns"]) -> Int[np.ndarray, "parts columns"]:
    """The longest chains through both: sums, of which the largest counts."""
    return np.maximum((later[:, :, None] + earlier).max(axis=1), NEVER)


def _levels(leaves: int) -> int:
    """Height of a binary tree with so many leaves."""
    return max(leaves - 1, 0).bit_length()
