"""The reward of a caption, from the policy's token ids to a number, in the graph; `texts.py` has it for plain strings.

    ids [B G T] -> bytes, words, reward tokens, embedding (inputs.py) -> parts [B G] each -> R [B G] (combine.py)

NaN means "not scorable", part by part.
"""

import dataclasses

from emojax import text
from emojax.config import Reward
from emojax.rewards import combine, inputs
from emojax.rewards import emotion as space
from emojax.rewards.inputs import Captions, RewardModel, RewardStatic
from emojax.rewards.reader import Reader, unloaded
from emojax.text.policy import Policy, build_policy
from emojax.types import Array, References, Tree


def build(read: Reader) -> tuple[RewardModel, RewardStatic]:
    """The reward of a configuration, for the captions of a policy; on the host.

    Args:
      read: what `reader` loaded for it.
    """
    arrays = {part.part.name: found for part in read.parts if (found := part.called("arrays", read)) is not None}
    return RewardModel(_tables(read), read.weights, arrays), _static(read)


def _tables(read: Reader) -> text.Tables | Policy | None:
    assert read.policy is not None, "a reward that is built has the policy's tokenizer"
    if read.tokenizer is not None and read.sentence is not None:
        size = read.sentence.text_tokens
        return text.build(read.policy, read.tokenizer, max_bytes=read.reward.max_bytes, max_tokens=size)
    return build_policy(read.policy) if read.needs & {"bytes", "words"} else None


def abstract(read: Reader, vocab: int) -> tuple[RewardModel, RewardStatic]:
    """The shapes of the reward where its files are not at hand; `vocab` of the policy, `read` by `reader.abstract`."""
    assert read.reward.sizes, "the caller asks where there are sizes"
    assert read.sentence, "whoever has sizes has those of the model"
    size = read.sentence.text_tokens
    tables = text.abstract(vocab, read.reward.sizes, max_bytes=read.reward.max_bytes, max_tokens=size)
    arrays: dict[str, Tree] = {}
    for part in read.parts:
        found = part.called("shapes", read) if hasattr(part.file, "shapes") else part.called("arrays", read)
        arrays |= {} if found is None else {part.part.name: found}
    whole, spelled = read.needs & {"tokens", "embedding"}, read.needs & {"bytes", "words"}
    wanted = tables if whole else tables.policy if spelled else None
    return RewardModel(wanted, read.weights, arrays), _static(read)


def _static(read: Reader) -> RewardStatic:
    return RewardStatic(read.parts, read.sentence, read.reward.max_bytes, read.end)


def static_of(reward: Reward, end: int) -> RewardStatic:
    """What the program of a reward is compiled for; its weights are not read."""
    return _static(unloaded(reward, end))


def score(
    model: RewardModel, static: RewardStatic, ids: Array, mask: Array, refs: References
) -> tuple[Array, dict[str, Array]]:
    """Rewards of sampled captions, traceable.

    Args:
      ids, mask: i32, bool [B G T] the policy's tokens; what stands after the end token is not read.
      refs: of the same clips.
    Returns:
      The reward f32[B G], and by name its parts and what these tell besides, f32[B G] each. NaN: not scorable.
    """
    return compare(model, static, inputs.read(model, static, ids, mask), refs)


def compare(
    model: RewardModel, static: RewardStatic, captions: Captions, refs: References
) -> tuple[Array, dict[str, Array]]:
    """`score` of captions that were read."""
    parts, besides = {}, {}
    for part in static.parts:
        name = part.part.name
        given = model.parts.get(name), captions, dataclasses.replace(refs, own=refs.own.get(name))
        parts[name] = part.called("score", *given)
        besides |= part.called("details", *given) or {}
    return combine.combine(parts, [part.part for part in static.parts]), parts | besides


def only_emotions(reward: Reward) -> Reward:
    """A reward that reads where captions lie among the emotions and nothing else: for `coordinates`."""
    return dataclasses.replace(reward, parts=("emotion",))


def coordinates(model: RewardModel, static: RewardStatic, ids: Array, mask: Array) -> Array:
    """Where sampled captions lie among the emotions, f32[B G C], traceable; of a reward that has the part `emotion`.

    Args:
      ids, mask: as of `score`.
    """
    captions = inputs.read(model, static, ids, mask)
    assert captions.embedding is not None, "the part `emotion` asks for it"
    return space.project(model.parts["emotion"], captions.embedding)
