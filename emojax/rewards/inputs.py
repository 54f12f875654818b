"""What the parts of a reward read of captions: made once for all parts, and only what a part asks for.

In the graph it is made of the policy's token ids; `reader.py` makes the same of plain strings.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
from einops import rearrange
from flax import struct

from emojax import text
from emojax.parallel.sharding import constrain
from emojax.rewards import sentence
from emojax.rewards.part import Scorer
from emojax.rewards.sentence import Sentence, SentenceConfig
from emojax.rewards.words import words
from emojax.text.policy import Policy, policy_bytes
from emojax.types import Array, Text, Tree


@struct.dataclass
class Captions:
    """G captions of B clips; None: no part asks for it."""

    policy: Text  # [B G T] the policy's tokens, without its end token
    bytes: Any = None  # Text [B G Y] of UTF-8
    words: Any = None  # Text [B G W] see words.py
    tokens: Any = None  # Text [B G S] the reward model's tokens, without its special tokens
    embedding: Any = None  # f32[B G E] of its sentence encoder, unit length


@struct.dataclass
class RewardModel:
    """The arrays of the reward: arguments of the program, never constants in it."""

    tables: text.Tables | Policy | None  # the policy's tokens -> the reward model's; -> bytes alone; None: ids do
    sentence: Sentence | None  # None: no part reads embeddings
    parts: dict[str, Tree]  # what a part looks up, by its name


@dataclass(frozen=True)
class RewardStatic:
    parts: tuple[Scorer, ...]
    sentence: SentenceConfig | None  # its `max_tokens` is the length that captions and references are truncated to
    max_bytes: int
    end: int  # the policy's end token

    @property
    def needs(self) -> frozenset[str]:
        """What the parts ask for."""
        return frozenset(need for part in self.parts for need in part.needs)


def read(model: RewardModel, static: RewardStatic, ids: Array, mask: Array) -> Captions:
    """Sampled captions as the parts read them, traceable.

    Args:
      ids, mask: i32, bool [B G T] the policy's tokens; what stands after the end token is not read.
    """
    clips = ids.shape[0]
    flat = constrain(tuple(rearrange(x, "b g t -> (b g) t") for x in (ids, mask)))  # each a share of the captions
    found = Captions(Text(flat[0], flat[1] & (flat[0] != static.end)))
    if model.tables is not None:
        policy = model.tables.policy if isinstance(model.tables, text.Tables) else model.tables
        spelled = Text(*policy_bytes(policy, flat[0], flat[1], static.max_bytes))
        found = replace(found, **of_bytes(model, static, spelled))
    return jax.tree.map(lambda x: rearrange(x, "(b g) ... -> b g ...", b=clips), constrain(found))


def of_bytes(model: RewardModel, static: RewardStatic, spelled: Text) -> dict[str, Any]:
    """Fields of Captions that follow from the bytes of texts [N Y], with the one leading axis."""
    found: dict[str, Any] = {"bytes": spelled}
    if "words" in static.needs:
        found["words"] = words(spelled.ids, spelled.mask)
    if isinstance(model.tables, text.Tables):
        found["tokens"] = Text(*text.retokenize_bytes(model.tables, spelled.ids, spelled.mask))
        if model.sentence is not None and static.sentence is not None:
            embedded = sentence.embed(model.sentence, static.sentence, found["tokens"].ids, found["tokens"].mask)
            found["embedding"] = sentence.unit(embedded)
    return found
