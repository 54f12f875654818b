"""One Emo-GRPO step by hand: rollouts, rewards, advantages and gradients looked at, then the same in one program.

    python examples/one_step.py

`emojax.training.grpo.grpo_step` is one XLA program in which nothing can be stopped and looked at. Its parts are
functions, though: here they are called one by one, and then the whole step, which must come to the same numbers.
The captioner is `tiny` with random weights, so its captions are noise.
"""

import jax
import numpy as np

from emojax import param, rewards
from emojax.config import presets
from emojax.corpus import source
from emojax.data.batches import Batching, training_batches
from emojax.data.text import decode, train_tokenizer
from emojax.decoder import captioner, lm, pretrained
from emojax.parallel import sharding
from emojax.training.grpo import Frozen
from emojax.training.losses import advantages, policy_loss, token_scores, token_weights
from emojax.training.program import abstract_weights, grpo_program, new_state
from emojax.types import Array, Batch, Rollout, Tree


def main(overrides: tuple[str, ...] = ()) -> dict[str, tuple[float, float]]:
    """Returns loss, reward and gradient norm, each by hand and of the program."""
    cfg = presets.load("tiny", ["grpo.batch=4", *overrides])
    clips = source.split(source.manifest(cfg), "train")
    tokenizer = train_tokenizer(source.texts(clips), cfg.model.decoder.vocab)
    mesh = sharding.make_mesh(cfg, jax.devices()[:1])
    params = pretrained.initial(cfg, abstract_weights(captioner.declare(cfg), mesh))
    key = jax.random.key(cfg.seed)

    # a batch, with the references of its clips as the reward model reads them
    judge = rewards.make_reader(cfg.reward, tokenizer)
    model, static = rewards.build(judge)
    model = sharding.everywhere(model, mesh)
    references = rewards.references(judge, clips, cfg.data.references)
    batching = Batching(cfg.grpo.batch, cfg.seed, cfg.caption_tokens)
    batches = training_batches(clips, tokenizer, cfg.data, batching, references=references)
    batch = sharding.to_devices(next(batches), mesh)

    # G captions of each clip; the step's number is folded into the key of the run
    how = {"cfg": cfg, "group": cfg.grpo.group, "sampling": cfg.grpo.sampling}
    draw = jax.jit(captioner.sample, static_argnames=tuple(how))
    streams, samples = draw(params, batch, jax.random.fold_in(key, 0), **how)

    # their rewards, and how much better each is than the others of its clip
    score, _ = jax.jit(rewards.score, static_argnums=1)(model, static, samples.ids, samples.mask, batch.references)
    advantage, flat = advantages(score, cfg.grpo)
    for clip, (ids, mask) in enumerate(zip(samples.ids, samples.mask, strict=True)):
        print(f"clip {clip}" + ("  all rewards are equal: nothing to learn" if flat[clip] else ""))
        for g in range(cfg.grpo.group):
            words = decode(tokenizer, np.asarray(ids[g]), np.asarray(mask[g]))
            print(f"  reward {score[clip, g]:+.3f}  advantage {advantage[clip, g]:+.2f}  {words!r}")

    # the loss and its gradient: the policy is still the reference and still the one that sampled, so the ratio is one
    # and the loss zero, while its gradient is not
    def loss(policy: lm.Lm, reference: lm.Lm, streams: Tree, samples: Rollout, batch: Batch, advantage: Array) -> Array:
        def hidden(p: lm.Lm) -> Array:
            return captioner.read(p, streams, batch, samples.ids, cfg)

        other = hidden(reference), lm.head(reference)
        vocab, sampling = cfg.model.decoder.vocab, cfg.grpo.sampling
        scores = token_scores(hidden(policy), lm.head(policy), samples.ids, vocab, sampling, other)
        assert scores.reference is not None, "the reference was given"
        old = jax.lax.stop_gradient(scores.logp)
        weight = token_weights(samples.mask, samples.ended, cfg.grpo)
        return (policy_loss(scores.logp, old, scores.reference, advantage, cfg.grpo) * weight).sum()

    policy = params.decoder
    value, gradient = jax.jit(jax.value_and_grad(loss))(policy, policy, streams, samples, batch, advantage)
    squares: dict[str, float] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        part = ".".join(param.dotted(path).split(".")[:2])
        squares[part] = squares.get(part, 0.0) + float((leaf**2).sum())
    print("gradient norm by part of the decoder")
    for part, square in squares.items():
        print(f"  {part:<24} {square**0.5:.4f}")

    # the same step as it is trained with: one program, which also updates the weights
    program = grpo_program(cfg, mesh, model, static)
    with jax.set_mesh(mesh):
        frozen = Frozen(encoders=params.encoders, reference=policy, reward=model)
        _, metrics = program.step(new_state(program, policy), frozen, batch, key)
    by_hand = {"loss": value, "reward": score.mean(), "grad_norm": sum(squares.values()) ** 0.5}
    numbers = {name: (float(x), float(metrics[name])) for name, x in by_hand.items()}
    print("              by hand    one program")
    for name, (hand, whole) in numbers.items():
        print(f"  {name:<10} {hand:+.6f}  {whole:+.6f}")
    return numbers


if __name__ == "__main__":
    main()
