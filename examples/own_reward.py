"""A reward of one's own, compiled into the step: plain words, and none of them twice. python examples/own_reward.py"""

import jax.numpy as jnp

import emojax


def plain_words(is_word, ids, mask, references):
    again = jnp.tril((ids[..., :, None] == ids[..., None, :]) & mask[..., None, :], -1).any(-1)
    return (is_word[ids] & ~again & mask).sum(-1) / mask.sum(-1), {"again": (again & mask).sum(-1) / mask.sum(-1)}


def words(tokenizer):
    return jnp.array([tokenizer.decode([i]).strip().isalpha() for i in range(384)])


def main(steps: int = 20) -> list[float]:
    cfg = emojax.preset("tiny", f"steps={steps}", "grpo.beta=0", "grpo.optimizer.learning_rate=0.03")
    step = emojax.Step(cfg, reward=plain_words, arrays=words)
    state, rewards = step.start(), []
    for batch in step.batches(steps):
        state, seen = step(state, batch)
        rewards.append(float(seen.reward.mean()))
    return rewards


if __name__ == "__main__":
    print(*main(), sep="\n")
