"""`emojax bench grpo`: one Emo-GRPO step on the work of `trl_grpo.py` and `tunix_grpo.py`.

B prompts, G sampled completions of each, the real all-MiniLM-L6-v2 as the reward, beta 0.04 with k3, one update a
rollout.
"""

import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import Any, Literal

from emojax.bench import work as bench
from emojax.config import Config, Grpo, Optimizer, Reward

REFERENCE = "the speaker sounds deeply sad with a slow trembling voice"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


@dataclass(frozen=True)
class Work(bench.Sizes):
    """The flags of the peers' scripts."""

    prompts: int = 8  # B, prompts per step
    group: int = 8  # G, completions per prompt
    reward: Literal["minilm", "length"] = "minilm"
    profile: bool = False  # also time rollout and reward as programs of their own


@dataclass(frozen=True)
class Judged:
    """A program with its reward."""

    program: Any
    arrays: Any  # of the reward
    static: Any  # None: the length of a caption's text is its reward
    references: Any


def measure(work: Work) -> dict[str, Any]:
    """Runs warm-up and counted steps; the line that is printed."""
    import jax
    import numpy as np

    from emojax import param
    from emojax.decoder import captioner
    from emojax.parallel import sharding
    from emojax.training.grpo import Frozen
    from emojax.training.program import new_state

    cfg, judged = build(work)
    program = judged.program
    declared = captioner.declare(cfg)
    params = param.init(declared, jax.random.key(0))
    frozen = Frozen(encoders=params.encoders, reference=params.decoder, reward=judged.arrays)
    last = new_state(program, params.decoder), {}
    before = np.asarray(last[0].params.embed)

    def made(step: int) -> Any:
        batch = dataclasses.replace(bench.prompts(work, work.prompts, step), references=judged.references)
        return sharding.to_devices(batch, program.mesh)

    def run(batch: Any) -> Any:
        nonlocal last
        last = program.step(last[0], frozen, batch, jax.random.key(0))
        return last

    with jax.set_mesh(program.mesh):
        times = bench.timed(work, made, run)
        phases = {"phases": _phases(cfg, program, last[0], frozen, made(0))} if work.profile else {}
    state, metrics = last
    compiled = program.step._cache_size()  # pyright: ignore[reportFunctionMemberAccess] a jitted function has it
    assert compiled == 1, f"the step was compiled {compiled} times"
    samples = metrics.pop("samples")
    assert np.asarray(samples.mask).all(), "a completion ended before its length"
    moved = float(np.abs(np.asarray(state.params.embed) - before).max())
    assert moved > 0, "no weight moved"
    operations = _operations(cfg, judged, samples)
    return bench.line("emojax.grpo_step", work, times, work.prompts * work.group, operations) | {
        "params_m": round(param.count(declared.decoder) / 1e6, 3),
        "weights_moved": moved,
        "last_log": {name: round(float(value), 6) for name, value in metrics.items()},
        **phases,
    }


def build(work: Work) -> tuple[Config, Judged]:
    """Configuration and program of a captioner that reads a prompt, and no media."""
    import jax

    from emojax import rewards
    from emojax.data.clips import Clip
    from emojax.parallel import sharding
    from emojax.training.program import custom_grpo_program, grpo_program

    grpo = Grpo(batch=work.prompts, group=work.group, optimizer=Optimizer(learning_rate=1e-5, weight_decay=0.0))
    reward = Reward(parts=("sentence",), max_bytes=1024, max_tokens=192)
    cfg = dataclasses.replace(bench.config(work), reward=reward, grpo=grpo)
    mesh = sharding.make_mesh(cfg, jax.devices()[:1])
    if work.reward == "length":

        def length(spelled: Any, ids: Any, mask: Any, refs: Any) -> tuple[Any, dict[str, Any]]:
            return spelled[ids].sum(-1) / 100, {}

        spelled = jax.device_put(bytes_of_tokens(work.vocab), sharding.replicated(mesh))
        return cfg, Judged(custom_grpo_program(cfg, mesh, spelled, length, None), spelled, None, None)
    judge = rewards.make_reader(cfg.reward, policy_tokenizer(work.vocab), end=cfg.model.decoder.end_token)
    model, static = rewards.build(judge)
    references = rewards.references(judge, [Clip("", captions=(REFERENCE,))] * work.prompts, 1)
    model = jax.device_put(model, sharding.replicated(mesh))
    return cfg, Judged(grpo_program(cfg, mesh, model, static), model, static, references)


def policy_tokenizer(vocab: int) -> Any:
    """MiniLM's pieces as a byte-level vocabulary, so that ids spell the same words as the peers' WordPiece policy."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    from emojax.rewards.sentence import load_tokenizer

    pieces = sorted(load_tokenizer(MODEL).get_vocab().items(), key=lambda item: item[1])[:vocab]
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    table: dict[str, int] = {}
    for piece, i in pieces:
        text = piece if piece in SPECIAL else piece[2:] if piece.startswith("##") and len(piece) > 2 else " " + piece
        table[piece if piece in SPECIAL else spell.pre_tokenize_str(text)[0][0]] = i
    tokenizer = Tokenizer(models.BPE(table, []))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return tokenizer


def bytes_of_tokens(vocab: int) -> Any:
    """f32[V]: how long each token's text is."""
    import numpy as np

    from emojax.text.policy import added_bytes, build_policy

    return np.array([len(token) for token in added_bytes(build_policy(policy_tokenizer(vocab)))[:vocab]], np.float32)


def _operations(cfg: Config, judged: Judged, samples: Any) -> float:
    """Of the products of a step; the reward model reads as many tokens as the samples have on average."""
    from einops import rearrange

    from emojax import text
    from emojax.planning import flops

    static = judged.static
    if static is not None:
        ids, mask = (rearrange(x, "b g t -> (b g) t") for x in (samples.ids, samples.mask))
        _, read = text.retokenize(judged.arrays.tables, ids, mask)
        length = round(float(read.sum(-1).mean())) + static.sentence.special
        static = dataclasses.replace(static, sentence=dataclasses.replace(static.sentence, max_tokens=length))
    return flops.grpo_flops(cfg, static, cfg.data.audio_seconds[-1])


def _phases(cfg: Config, program: Any, state: Any, frozen: Any, batch: Any) -> dict[str, float]:
    """Seconds of the rollout and of the reward, each compiled as a program of its own, median of 3."""
    import functools

    import jax

    from emojax.decoder.captioner import Params, sample
    from emojax.decoder.sample import Drawing

    grpo = cfg.grpo
    rollout = jax.jit(functools.partial(sample, cfg=cfg, group=grpo.group, how=Drawing(grpo.sampling)))
    captioner = Params(frozen.encoders, state.params)
    _, samples = rollout(captioner, batch, jax.random.key(0))
    score = jax.jit(program.score)

    def median(run: Any) -> float:
        times = []
        for _ in range(4):
            clock = time.perf_counter()
            jax.block_until_ready(run())
            times.append(time.perf_counter() - clock)
        return round(statistics.median(times[1:]), 4)

    return {
        "rollout": median(lambda: rollout(captioner, batch, jax.random.key(0))),
        "reward": median(lambda: score(frozen.reward, samples.ids, samples.mask, batch.references)),
    }
