"""The work of `shared/bench/peers`: its sizes, the clock, and the JSON line that each benchmark prints.

Random Qwen2-shaped weights in float32, prefixes of exactly P tokens, captions of exactly T (no end token in the
vocabulary), two processors, the same four malloc variables: one run puts us beside TRL, Tunix, transformers and torch.
Beside each step a product of two matrices is timed, so that a step's operations are compared with what the machine
could do at that moment.
"""

import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from emojax.config import Config, ConfigError, Data, LlamaConfig, Model
from emojax.config.concepts import CONCEPTS

KEEP = {  # glibc holds on to freed memory, so a step does not fault its pages in again
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
}
NO_AUDIO = 160  # samples of an audio buffer that no encoder reads
WORDS = 1996  # ids from here on are words of their own
CLS, SEP = 101, 102  # every prompt begins with the one and ends with the other, which a completion is begun from
_SIDE = 1024  # of the matrices whose product is timed


@dataclass(frozen=True)
class Sizes:
    """The flags that the peers' scripts have in common."""

    prompt_len: int = 48  # P, tokens per prompt
    completion_len: int = 48  # T, tokens per completion
    hidden: int = 256  # model width
    layers: int = 4  # decoder layers
    vocab: int = 30522  # V
    steps: int = 5  # counted steps, after the warm-up
    warmup: int = 2  # uncounted steps (compilation)
    threads: int = 2  # processors
    malloc: Literal["keep", "default"] = "keep"


@dataclass(frozen=True)
class Times:
    """Of the counted steps."""

    seconds: list[float]
    processor: list[float]  # seconds of all processors together
    first: float  # seconds of the very first step, compilation included
    rate: float  # floating-point operations a second of a product of matrices, the median beside the counted steps


def main(work: Sizes, measure: Callable[[Any], dict[str, Any]]) -> None:
    """Measures and prints the line; glibc reads its variables when a process starts, so it may begin once more."""
    if work.vocab <= WORDS:
        raise ConfigError(f"--vocab wants more than {WORDS}, so that prompts have words, got {work.vocab}")
    if work.malloc == "keep" and any(os.environ.get(name) != value for name, value in KEEP.items()):
        os.execve(sys.executable, [sys.executable, "-m", "emojax.cli", *sys.argv[1:]], {**os.environ, **KEEP})
    if hasattr(os, "sched_setaffinity"):  # XLA takes one thread per processor that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: work.threads])
    print(json.dumps(measure(work)), flush=True)


def config(work: Sizes) -> Config:
    """A captioner that reads a prompt, and no media."""
    lm = LlamaConfig(
        vocab=work.vocab,
        width=work.hidden,
        layers=work.layers,
        heads=work.hidden // 64,
        kv_heads=max(1, work.hidden // 128),
        head_width=64,
        ff=4 * work.hidden,
        start_token=SEP,
        end_token=work.vocab,
    )
    data = Data(
        audio_seconds=(NO_AUDIO / 16_000,),
        frames=1,
        frame_size=8,
        transcript_tokens=work.prompt_len - 1,  # the start token is the last of the prompt
        references=1,
    )
    model = Model(audio=None, video=None, decoder=lm)
    return Config(name="bench", steps=1000, caption_tokens=work.completion_len, data=data, model=model)


def prompts(work: Sizes, clips: int, step: int) -> Any:
    """A batch (numpy) whose transcripts are random word pieces: [CLS] and P - 2 pieces; [SEP] is the start token."""
    import numpy as np

    from emojax.types import batch_shapes, blank

    rng, p = np.random.default_rng(step), work.prompt_len - 1
    words = rng.integers(WORDS, min(work.vocab, 12_000), (clips, p), dtype=np.int32)
    words[:, 0] = CLS
    sizes = {"transcript": p, "caption": work.completion_len, "concepts": len(CONCEPTS)}
    shapes = batch_shapes(clips, samples=NO_AUDIO, frames=1, size=8, **sizes)
    return dataclasses.replace(
        blank(shapes),
        clip_id=rng.integers(0, 2**32, clips, dtype=np.uint32),
        transcript=words,
        transcript_mask=np.ones((clips, p), bool),
    )


def timed(work: Sizes, made: Callable[[int], Any], run: Callable[[Any], Any]) -> Times:
    """`run(made(step))` of each step; only `run` is timed, and beside it the product."""
    import jax
    import jax.numpy as jnp

    square = jnp.ones((_SIDE, _SIDE), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    operations = 2 * _SIDE**3
    seconds, processor, rates = [], [], []
    for step in range(work.warmup + work.steps):
        given = made(step)
        clock, busy = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(given))
        seconds.append(time.perf_counter() - clock)
        processor.append(time.process_time() - busy)
        rates.append(operations / min(_seconds(lambda: product(square)) for _ in range(5)))
    counted = slice(work.warmup, None)
    return Times(seconds[counted], processor[counted], seconds[0], statistics.median(rates[counted]))


def _seconds(run: Callable[[], Any]) -> float:
    import jax

    clock = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - clock


def line(peer: str, work: Sizes, times: Times, captions: int, operations: float) -> dict[str, Any]:
    """What every benchmark prints.

    Args:
      captions: of a step.
      operations: floating-point operations of a step's products, counted by hand.
    """
    import resource

    import jax

    median = statistics.median(times.seconds)
    return {
        "peer": peer,
        "version": {"jax": jax.__version__},
        "args": dataclasses.asdict(work),
        "step_seconds": [round(s, 4) for s in times.seconds],
        "median_step_s": round(median, 4),
        "median_processor_s": round(statistics.median(times.processor), 4),
        "completions_per_s": round(captions / median, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "first_step_s": round(times.first, 3),
        "gflop": round(operations / 1e9, 2),
        "products_gflop_s": round(times.rate / 1e9, 1),
        "share_of_products": round(operations / times.rate / median, 3),
    }
