"""Bytes that a compiled program reads and writes if nothing stays in a cache between its operations.

A fusion reads its operands and writes its result; what is between stays in registers. A slice reads only what it takes, and an update in
place writes only what is new.
"""

from transformer.evaluation.parallelism.program import Computation, Instruction, Program
from transformer.evaluation.parallelism.work_span import trips

NAMES_ONLY = frozenset({"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier"})
"""Operations that give a value a name and move nothing."""


def traffic(program: Program) -> int:
    """Bytes read and written by a program.

    Raises ValueError where a loop's number of trips is not known.
    """
    return _Traffic(program).of(program.entry)


class _Traffic:
    def __init__(self, program: Program) -> None:
        self.computations = program.computations

    def called(self, instruction: Instruction, *attributes: str) -> list[Computation]:
        return [self.computations[name] for key in attributes for name in instruction.called.get(key, ())]

    def of(self, computation: Computation) -> int:
        """Traffic of a computation that is not fused."""
        return sum(self.of_instruction(each, computation) for each in computation.instructions.values())

    def of_instruction(self, instruction: Instruction, computation: Computation) -> int:
        match instruction.opcode:
            case opcode if opcode in NAMES_ONLY:
                return 0
            case "while":
                return trips(instruction) * sum(map(self.of, self.called(instruction, "body", "condition")))
            case "conditional":
                return max(map(self.of, self.called(instruction, "branch_computations", "true_computation", "false_computation")))
            case "call":
                return sum(map(self.of, self.called(instruction, "to_apply")))
            case _:
                read = sum(self.read(instruction, position, computation) for position in range(len(instruction.operands)))
                return read + self.written(instruction, computation)

    def read(self, instruction: Instruction, position: int, computation: Computation) -> int:
        """What an instruction reads of one of its operands."""
        whole = computation.operand(instruction, position).bytes
        match instruction.opcode:
            case "slice" | "dynamic-slice" | "gather" if position == 0:
                return instruction.bytes
            case "dynamic-update-slice" | "scatter" if position == 0:
                return 0
            case "tuple":
                return 0
            case "fusion":
                (fused,) = self.called(instruction, "calls")
                return min(whole, self.read_by_users(fused.parameters[position], fused))
            case _:
                return whole

    def read_by_users(self, value: Instruction, fused: Computation) -> int:
        return sum(
            self.read_by_users(user, fused) if user.opcode == "bitcast" else self.read(user, position, fused)
            for user, position in fused.users[value.name]
        )

    def written(self, instruction: Instruction, computation: Computation) -> int:
        match instruction.opcode:
            case "dynamic-update-slice":
                return computation.operand(instruction, 1).bytes
            case "scatter":
                return computation.operand(instruction, len(instruction.operands) - 1).bytes
            case "bitcast":
                return self.written(computation.operand(instruction), computation)
            case "tuple":
                return sum(self.written(computation.operand(instruction, part), computation) for part in range(len(instruction.operands)))
            case "fusion":
                (fused,) = self.called(instruction, "calls")
                return self.written(fused.root, fused)
            case _:
                return instruction.bytes
