"""A compiled program as text (HLO): its computations, how often each runs in a step, and what reaches to the host."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_CALLED = re.compile(r"\b(?:calls|to_apply|true_computation|false_computation|async_wrapped)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_LOOP = re.compile(r"\b(condition|body)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONSTANT = re.compile(r"([\w.\-]+) = [su]\d+\[\]\S* constant\((\d+)\)")
_BELOW = re.compile(r" compare\(%?[\w.\-]+, %?([\w.\-]+)\), direction=LT")
_CHANNEL = re.compile(r"channel_id=(\d+)")
_ELEMENT = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,<=]*)\]")
_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128, "token": 0}


@dataclass(frozen=True)
class Times:
    """How often a computation runs in a step."""

    count: int = 1
    bounded: bool = False  # `count` is the most: a loop may end early, as the decoder's does
    unknown: bool = False  # inside a loop whose end the text does not tell; `count` takes one iteration of it

    def of(self, trips: int | None, exactly: bool) -> "Times":
        """Times of a loop's body."""
        if trips is None:
            return Times(self.count, self.bounded, True)
        return Times(self.count * trips, self.bounded or not exactly, self.unknown)


@dataclass(frozen=True)
class Instruction:
    name: str
    shape: str  # as HLO spells it; a tuple is in parentheses
    opcode: str
    rest: str  # operands and attributes
    inside: str  # the computation that it stands in
    times: Times


def host_traffic(program: str) -> dict[str, int]:
    """Instructions of a compiled program that reach to the host.

    What a TPU sends to other slices goes through its host's network, and the text calls it a host transfer as well:
    that is the runtime's own (megascale), no Python waits at its end, and it is counted as a collective.
    """
    lines = program.splitlines()
    transfers = [line for line in lines if "is_host_transfer=true" in line and "megascale" not in line.lower()]
    return {
        "host_callbacks": len(re.findall(r'custom_call_target="[^"]*callback[^"]*"', program)) + len(transfers),
        "infeeds": len(re.findall(r"= [^=]*\binfeed\(", program)),
        "outfeeds": len(re.findall(r"= [^=]*\boutfeed\(", program)),
    }


def executed(program: str) -> list[Instruction]:
    """Every instruction that a step runs, with how often, inside loops, fusions and branches; of the branches of a
    conditional all of them. An asynchronous collective that is fused with several pieces of work is there once."""
    computations, entry = _computations(program)
    return list(_walk(computations, entry, Times(), set()))


def size(shape: str) -> int:
    """Bytes of a shape; of a tuple the sum of its elements."""
    return sum(_bits(kind) * _product(dims) // 8 for kind, dims in _ELEMENT.findall(shape))


def elements(shape: str) -> list[int]:
    """Bytes of each array of a shape."""
    return [_bits(kind) * _product(dims) // 8 for kind, dims in _ELEMENT.findall(shape)]


def _bits(kind: str) -> int:
    if kind in _BITS:
        return _BITS[kind]
    digits = re.search(r"\d+", kind)
    return int(digits.group()) if digits else 0


def _product(dims: str) -> int:
    total = 1
    for size in filter(None, dims.replace("<=", "").split(",")):
        total *= int(size)
    return total


def _computations(program: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation by its name, and the name of the one that runs first."""
    found: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in program.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)
        if header:
            lines = found.setdefault(header.group(2), [])
            entry = header.group(2) if header.group(1) else entry
        elif line.startswith(" "):
            lines.append(line)
    return found, entry


def _walk(
    computations: Mapping[str, list[str]], name: str, times: Times, seen: set[str], fused: bool = False
) -> Iterator[Instruction]:
    for line in computations.get(name, ()):
        instruction = _parse(line, name, times)
        if instruction is None:
            continue
        channel = _CHANNEL.search(instruction.rest)
        if fused and channel:  # its start, its pieces and its end are fusions of their own, of one channel
            if channel.group(1) in seen:
                continue
            seen.add(channel.group(1))
        yield instruction
        if instruction.opcode == "while":
            loop = dict(_LOOP.findall(instruction.rest))
            trips, exactly = _trips(computations, loop["condition"], instruction.rest)
            for part in ("condition", "body"):
                yield from _walk(computations, loop[part], times.of(trips, exactly), set())
            continue
        branches = _BRANCHES.search(instruction.rest)
        called = _CALLED.findall(instruction.rest) if _runs(instruction.opcode) else []
        if branches:
            called = [branch.strip().lstrip("%") for branch in branches.group(1).split(",")]
        for other in called:
            within = instruction.opcode == "fusion"
            yield from _walk(computations, other, times, seen if within else set(), within)


def _runs(opcode: str) -> bool:
    """What it names is run as a part of the step, not applied to elements as a reduction's sum is.

    `call-start` is how a tpu7x begins collectives that its SparseCores carry out.
    """
    return opcode in ("fusion", "call", "call-start", "conditional", "async-start", "custom-call")


def _parse(line: str, inside: str, times: Times) -> Instruction | None:
    name, equals, text = line.strip().removeprefix("ROOT ").partition(" = ")
    if not equals:
        return None
    end = _end_of_tuple(text) if text.startswith("(") else text.find(" ")
    opcode, parenthesis, rest = text[end:].strip().partition("(")
    return Instruction(name, text[:end], opcode, rest, inside, times) if parenthesis else None


def _end_of_tuple(text: str) -> int:
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return at + 1
    return len(text)


def _trips(computations: Mapping[str, list[str]], condition: str, loop: str) -> tuple[int | None, bool]:
    """(iterations of a loop, whether it is exactly so many).

    XLA says it for the CPU and the GPU. For the TPU the condition is read: a counter that begins at 0, as `lax.scan`
    and `fori_loop` have it, is compared to a constant, and to nothing else; with more in it the loop may end early.
    """
    known = _TRIPS.search(loop)
    if known:
        return int(known.group(1)), True
    lines = computations.get(condition, [])
    fused = [line for text in lines for name in _CALLED.findall(text) for line in computations.get(name, [])]
    values = {name: int(value) for name, value in _CONSTANT.findall("\n".join(lines + fused))}
    bounds = {values[name] for line in lines + fused for name in _BELOW.findall(line) if name in values}
    if len(bounds) != 1:
        return None, False
    return bounds.pop(), any(line.strip().startswith("ROOT") and _BELOW.search(line) for line in lines)
