"""A reward of one's own: Emo-GRPO teaches a captioner to write in plain words, and to say nothing twice.

    python examples/own_reward.py

A reward is a traceable function of the sampled tokens, compiled into the step with everything else. What it looks up
is an argument of the program: here a table that says which tokens are words or pieces of words. The captioner is `tiny`
and begins with random weights, so all that it learns comes from this reward. The mean reward of each step is printed.
"""

import jax
import jax.numpy as jnp

from emojax.config import presets
from emojax.corpus import source
from emojax.data.batches import Batching, training_batches
from emojax.data.text import train_tokenizer
from emojax.decoder import captioner, pretrained
from emojax.parallel import sharding
from emojax.training.grpo import Frozen
from emojax.training.program import abstract_weights, custom_grpo_program, new_state


def plain_words(is_word: jax.Array, ids: jax.Array, mask: jax.Array, references: None) -> tuple[jax.Array, dict]:
    """The share of a caption's tokens [B G T] that are words and stand there for the first time."""
    same = (ids[..., :, None] == ids[..., None, :]) & mask[..., None, :]  # [B G T T]
    new = ~jnp.tril(same, -1).any(-1)
    score = (is_word[ids] & new & mask).sum(-1) / mask.sum(-1)
    return score, {"new": (new & mask).sum(-1) / mask.sum(-1)}  # logged as reward_new


def main(steps: int = 20) -> list[float]:
    cfg = presets.load("tiny", [f"steps={steps}", "grpo.beta=0", "grpo.optimizer.learning_rate=0.03"])
    clips = source.split(source.manifest(cfg), "train")
    tokenizer = train_tokenizer(source.texts(clips), cfg.model.decoder.vocab)
    tokens = [tokenizer.decode([i]).strip() for i in range(cfg.model.decoder.vocab)]
    is_word = jnp.array([token.isascii() and token.isalpha() for token in tokens])

    mesh = sharding.make_mesh(cfg, jax.devices()[:1])
    program = custom_grpo_program(cfg, mesh, is_word, plain_words, references=None)
    params = pretrained.initial(cfg, abstract_weights(captioner.declare(cfg), mesh))
    state = new_state(program, params.decoder)
    frozen, key = Frozen(params.encoders, params.decoder, is_word), jax.random.key(cfg.seed)
    batches = training_batches(clips, tokenizer, cfg.data, Batching(cfg.grpo.batch, cfg.seed, cfg.caption_tokens))
    rewards = []
    with jax.set_mesh(mesh):
        for step, batch in zip(range(steps), batches, strict=False):
            state, metrics = program.step(state, frozen, sharding.to_devices(batch, mesh), key)
            rewards.append(float(metrics["reward"]))
            print(f"step {step + 1:2}  reward {rewards[-1]:.3f}  without repetition {metrics['reward_new']:.3f}")
    return rewards


if __name__ == "__main__":
    main()
