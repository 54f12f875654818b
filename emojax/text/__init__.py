"""Text inside the graph: the policy's tokens become the reward model's tokens, exactly, on any device."""

from emojax.text.abstract import abstract
from emojax.text.check import check
from emojax.text.convert import BpeTables, Tables, UnigramTables, WordpieceTables, build, from_bytes, retokenize

__all__ = ["BpeTables", "Tables", "UnigramTables", "WordpieceTables"]
__all__ += ["abstract", "build", "check", "from_bytes", "retokenize"]
