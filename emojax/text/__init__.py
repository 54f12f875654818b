"""Text inside the graph: the policy's tokens become the reward model's tokens, exactly, on any device."""

from emojax.text.check import check
from emojax.text.convert import Tables, build, retokenize

__all__ = ["Tables", "build", "check", "retokenize"]
