"""260 real Mandarin utterances with human captions, from nothing: `emojax train --config secap --out DIR`.

The recordings lie in ../shared/data/secap; others by `--set data.manifest=PATH`. The reward reads Chinese: it is
multilingual-e5-small of the hub, or of a directory,

    emojax train --config secap --set reward.model=DIR --out runs/secap

They are too few to learn well from: with an English reward the captions were Chinese, stammered and stayed below both
floors; with this one it has not been measured (BENCHMARKS.md, which has what a linear map reaches, too).
"""

from emojax.config import (
    BertConfig,
    Config,
    Data,
    Grpo,
    LlamaConfig,
    MelEncoderConfig,
    Model,
    Optimizer,
    Reward,
    Sft,
)
from emojax.config.concepts import CONCEPTS_ZH, TEMPLATES_ZH


def config() -> Config:
    return Config(
        name="secap",
        steps=60,
        sft_steps=300,
        caption_tokens=32,
        data=Data(
            manifest="../shared/data/secap/manifest.jsonl",
            audio_seconds=(5.0, 10.0),
            transcript_tokens=48,
            references=1,
        ),
        model=Model(
            audio=MelEncoderConfig(width=128, layers=3, tokens=16),
            video=None,
            decoder=LlamaConfig(vocab=1536),
        ),
        reward=Reward(
            model="intfloat/multilingual-e5-small",
            sizes=BertConfig(vocab=250_037, layers=12),
            concepts=CONCEPTS_ZH,
            templates=TEMPLATES_ZH,
        ),
        sft=Sft(batch=16, optimizer=Optimizer(learning_rate=1e-3)),
        grpo=Grpo(batch=16, group=6),
    )
