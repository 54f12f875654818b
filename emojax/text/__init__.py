"""Text inside the graph: the policy's tokens become the reward model's tokens, exactly, on any device."""

from emojax.text.abstract import abstract
from emojax.text.check import check
from emojax.text.convert import (
    BpeTables,
    Tables,
    UnigramTables,
    WordpieceTables,
    build,
    retokenize,
    retokenize_bytes,
    spelled,
)

__all__ = ["BpeTables", "Tables", "UnigramTables", "WordpieceTables", "abstract", "build", "check"]
__all__ += ["retokenize", "retokenize_bytes", "spelled"]
