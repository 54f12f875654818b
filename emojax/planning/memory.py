"""What a program keeps in a device's memory, and what the compiler says when that is too much."""

import math
import re
from typing import Any

import jax

from emojax.types import Tree

_WANTS = (  # two spellings of the TPU's compiler
    re.compile(
        r"memory required for HLO temporaries \((?P<needs>[\d.]+\w?)\) exceeds available HBM \((?P<has>[\d.]+\w?)\)"
    ),
    re.compile(r"Used (?P<needs>[\d.]+\w?) of (?P<has>[\d.]+\w?) hbm"),
)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def of(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Bytes on each device: arguments, outputs (beyond those that take an argument's place) and temporaries, which
    together are the peak; and the program's own code, which a TPU keeps beside them."""
    memory: Any = compiled.memory_analysis()
    arguments = memory.argument_size_in_bytes
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    # of a TPU `temp_size_in_bytes` has also what lies in its cores; the whole allocation has not
    peak = getattr(memory, "total_allocation_bytes", 0) or arguments + outputs + memory.temp_size_in_bytes
    return {
        "arguments": arguments,
        "outputs": outputs,
        "temporaries": peak - arguments - outputs,
        "peak": peak,
        "code": memory.generated_code_size_in_bytes,
    }


def touched(compiled: jax.stages.Compiled) -> int:
    """Bytes of a device that a step reads or writes at least once: arguments and outputs."""
    memory: Any = compiled.memory_analysis()
    return memory.argument_size_in_bytes + memory.output_size_in_bytes


def of_arguments(arguments: Tree) -> int:
    """Bytes on each device of abstract arguments with their shardings, found without compiling."""

    def one(x: Any) -> int:
        shape = x.sharding.shard_shape(x.shape) if x.sharding else x.shape
        return math.prod(shape) * x.dtype.itemsize

    return sum(one(x) for x in jax.tree.leaves(arguments))


def exhausted(error: Exception) -> tuple[int, int] | None:
    """(bytes wanted, bytes there are) of a device, where that is what the compiler failed for."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text and "Ran out of memory" not in text:
        return None
    for wants in _WANTS:
        found = wants.search(text)
        if found:
            return _bytes(found["needs"]), _bytes(found["has"])
    return None


def _bytes(text: str) -> int:
    unit = text[-1] if text[-1] in _UNITS else ""
    return round(float(text.removesuffix(unit)) * _UNITS[unit])
