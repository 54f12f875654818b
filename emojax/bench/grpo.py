"""`emojax bench grpo`: our step on the work of `shared/bench/peers`, so that one run puts us beside TRL and Tunix.

The same work: B prompts of exactly P tokens, G sampled completions of exactly T tokens each (no end token in the
vocabulary), random Qwen2-shaped weights in float32, the real all-MiniLM-L6-v2 as the reward, beta 0.04 with k3, one
update a rollout. Same flags, same JSON line, same four malloc variables.
"""

import dataclasses
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any, Literal

from emojax.config import Config, ConfigError, Data, Grpo, LlamaConfig, Model, Optimizer, Reward

KEEP = {  # glibc holds on to freed memory, so a step does not fault its pages in again
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
REFERENCE = "the speaker sounds deeply sad with a slow trembling voice"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
_NO_AUDIO = 160  # samples of an audio buffer that no encoder reads
WORDS = 1996  # ids from here on are words of their own
SEP = 102  # every prompt ends with it, so it is what a completion is begun from


@dataclass(frozen=True)
class Work:
    """The flags of the peers' scripts."""

    prompts: int = 8  # B, prompts per step
    group: int = 8  # G, completions per prompt
    prompt_len: int = 48  # P, tokens per prompt
    completion_len: int = 48  # T, tokens per completion
    hidden: int = 256  # model width
    layers: int = 4  # decoder layers
    vocab: int = 30522  # V
    steps: int = 5  # counted steps, after the warm-up
    warmup: int = 2  # uncounted steps (compilation)
    threads: int = 2  # processors
    reward: Literal["minilm", "length"] = "minilm"
    malloc: Literal["keep", "default"] = "keep"
    profile: bool = False  # also time rollout and reward as programs of their own


def main(work: Work) -> None:
    """Measures and prints the line; glibc reads its variables when a process starts, so it may begin once more."""
    if work.vocab <= WORDS:
        raise ConfigError(f"--vocab wants more than {WORDS}, so that prompts have words, got {work.vocab}")
    if work.malloc == "keep" and any(os.environ.get(name) != value for name, value in KEEP.items()):
        os.execve(sys.executable, [sys.executable, "-m", "emojax.cli", *sys.argv[1:]], {**os.environ, **KEEP})
    if hasattr(os, "sched_setaffinity"):  # XLA takes one thread per processor that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: work.threads])
    print(json.dumps(measure(work)), flush=True)


def measure(work: Work) -> dict[str, Any]:
    """Runs warm-up and counted steps; the line that is printed."""
    import resource

    import jax
    import numpy as np

    from emojax import param
    from emojax.decoder import captioner
    from emojax.parallel import sharding
    from emojax.training.grpo import Frozen
    from emojax.training.program import new_state

    cfg, program, reward, references = build(work)
    declared = captioner.declare(cfg)
    params = param.init(declared, jax.random.key(0))
    frozen = Frozen(encoders=params.encoders, reference=params.decoder, reward=reward)
    state = new_state(program, params.decoder)
    before = np.asarray(state.params.embed)
    seconds, compiled = [], []
    batch, metrics = None, {}
    with jax.set_mesh(program.mesh):
        for step in range(work.warmup + work.steps):
            batch = sharding.to_devices(prompts(work, step, references), program.mesh)
            clock = time.perf_counter()
            state, metrics = program.step(state, frozen, batch, jax.random.key(0))
            jax.block_until_ready((state, metrics))
            seconds.append(time.perf_counter() - clock)
            compiled.append(program.step._cache_size())  # pyright: ignore[reportFunctionMemberAccess] a jitted function's
        phases = {"phases": _phases(cfg, program, state, frozen, batch, jax.random.key(0))} if work.profile else {}
    samples = metrics.pop("samples")
    assert compiled[-1] == 1, f"the step was compiled {compiled[-1]} times"
    assert np.asarray(samples.mask).all(), "a completion ended before its length"
    moved = float(np.abs(np.asarray(state.params.embed) - before).max())
    assert moved > 0, "no weight moved"
    counted = seconds[work.warmup :]
    median = statistics.median(counted)
    return {
        "peer": "emojax.grpo_step",
        "version": {"jax": jax.__version__},
        "args": dataclasses.asdict(work),
        "step_seconds": [round(s, 4) for s in counted],
        "median_step_s": round(median, 4),
        "completions_per_s": round(work.prompts * work.group / median, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "first_step_s": round(seconds[0], 3),
        "params_m": round(param.count(declared.decoder) / 1e6, 3),
        "weights_moved": moved,
        "last_log": {name: round(float(value), 6) for name, value in metrics.items()},
        **phases,
    }


def build(work: Work) -> tuple[Any, Any, Any, Any]:
    """Configuration, program, reward arrays and references of a captioner that reads a prompt, and no media."""
    import jax

    from emojax import rewards
    from emojax.data.clips import Clip
    from emojax.parallel import sharding
    from emojax.training.program import custom_grpo_program, grpo_program

    heads = work.hidden // 64
    lm = LlamaConfig(
        vocab=work.vocab,
        width=work.hidden,
        layers=work.layers,
        heads=heads,
        kv_heads=max(1, work.hidden // 128),
        head_width=64,
        ff=4 * work.hidden,
        start_token=SEP,
        end_token=work.vocab,
    )
    cfg = Config(
        name="bench",
        steps=1000,
        caption_tokens=work.completion_len,
        data=Data(
            audio_seconds=(_NO_AUDIO / 16_000,),
            frames=1,
            frame_size=8,
            transcript_tokens=work.prompt_len - 1,
            references=1,
        ),
        model=Model(audio=None, video=None, decoder=lm),
        reward=Reward(parts=("sentence",), max_bytes=1024, max_tokens=192),
        grpo=Grpo(batch=work.prompts, group=work.group, optimizer=Optimizer(learning_rate=1e-5, weight_decay=0.0)),
    )
    mesh = sharding.make_mesh(cfg, jax.devices()[:1])
    if work.reward == "length":

        def length(spelled: Any, ids: Any, mask: Any, refs: Any) -> tuple[Any, dict[str, Any]]:
            return spelled[ids].sum(-1) / 100, {}

        spelled = jax.device_put(bytes_of_tokens(work.vocab), sharding.replicated(mesh))
        return cfg, custom_grpo_program(cfg, mesh, spelled, length, None), spelled, None
    judge = rewards.make_reader(cfg.reward, policy_tokenizer(work.vocab), end=lm.end_token)
    model, static = rewards.build(judge)
    references = rewards.references(judge, [Clip("", captions=(REFERENCE,))] * work.prompts, 1)
    return cfg, grpo_program(cfg, mesh, model, static), jax.device_put(model, sharding.replicated(mesh)), references


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


def prompts(work: Work, step: int, references: Any) -> Any:
    """A batch whose transcripts are random word pieces: [CLS] and P - 2 pieces; [SEP] is the start token."""
    import numpy as np

    from emojax.types import batch_shapes, blank

    rng, b, p = np.random.default_rng(step), work.prompts, work.prompt_len - 1
    words = rng.integers(WORDS, min(work.vocab, 12_000), (b, p), dtype=np.int32)
    words[:, 0] = 101
    shapes = batch_shapes(b, samples=_NO_AUDIO, frames=1, size=8, transcript=p, caption=work.completion_len)
    return dataclasses.replace(
        blank(shapes),
        clip_id=rng.integers(0, 2**32, b, dtype=np.uint32),
        transcript=words,
        transcript_mask=np.ones((b, p), bool),
        references=references,
    )


def _phases(cfg: Any, program: Any, state: Any, frozen: Any, batch: Any, key: Any) -> dict[str, float]:
    """Seconds of the rollout and of the reward, each compiled as a program of its own, median of 3."""
    import functools

    import jax

    from emojax.decoder.captioner import Params, sample

    grpo = cfg.grpo
    rollout = jax.jit(functools.partial(sample, cfg=cfg, group=grpo.group, sampling=grpo.sampling))
    captioner = Params(frozen.encoders, state.params)
    _, samples = rollout(captioner, batch, key)
    score = jax.jit(program.score)

    def median(run: Any) -> float:
        times = []
        for _ in range(4):
            clock = time.perf_counter()
            jax.block_until_ready(run())
            times.append(time.perf_counter() - clock)
        return round(statistics.median(times[1:]), 4)

    return {
        "rollout": median(lambda: rollout(captioner, batch, key)),
        "reward": median(lambda: score(frozen.reward, samples.ids, samples.mask, batch.references)),
    }
