"""Flags by which the tests' programs compile as cheaply as XLA can; no jax is imported to know them.

Without LLVM's optimisation programs compile in half the time; without the emitters of MLIR, which jaxlib 0.12 cannot do
without any more (an unknown flag ends the process), in two thirds of that. In one part, not 32, for there are no cores
to compile these on, they take a fifth less.
"""

from importlib.metadata import version

HAS_EMITTERS_FLAG = tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)
CHEAP = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
CHEAP += " --xla_cpu_use_fusion_emitters=false" * HAS_EMITTERS_FLAG
EMITTERS = {"xla_cpu_use_fusion_emitters": True} if HAS_EMITTERS_FLAG else {}
"""Compiler options with which a program has the emitters that runs have."""
