"""The built-in corpus from files to captions: `emojax demo`, on two CPU cores.

A quarter of an hour. Captions of speakers never heard name the emotion in nine of ten clips, and three of four say
nothing wrong (BENCHMARKS.md). Muon learns what AdamW does in a third of its steps (docs/train.md).
Advantages are not divided by the group's deviation: samples that differ in wording alone would count as much as samples
that differ in the emotion, and captions would all take the one wording that suits best.
"""

from emojax.config import (
    Config,
    Corpus,
    Data,
    FrameEncoderConfig,
    Grpo,
    MelEncoderConfig,
    Model,
    Optimizer,
    Reward,
    Sampling,
    Sft,
)
from emojax.config.concepts import ATTRIBUTES


def config() -> Config:
    return Config(
        name="demo",
        steps=50,
        sft_steps=550,
        caption_tokens=40,
        data=Data(
            corpus=Corpus(clips=4000, speakers=320, fps=8),
            audio_seconds=(3.8,),
            frames=4,
            transcript_tokens=12,
            targets=2,
            references=3,
        ),
        model=Model(audio=MelEncoderConfig(tokens=4), video=FrameEncoderConfig(tokens=2)),
        reward=Reward(
            parts=("emotion*0.8", "sentence*0.2", "facts(fine=5)*1"),
            attributes=ATTRIBUTES,
            max_bytes=240,
            max_tokens=48,
        ),
        sft=Sft(batch=16, optimizer=Optimizer(kind="muon", learning_rate=2e-3)),
        grpo=Grpo(
            batch=16,
            group=6,
            beta=0.15,
            scale="none",
            stream_dropout=0.15,
            transcript_dropout=0.15,
            sampling=Sampling(temperature=0.7),
            optimizer=Optimizer(learning_rate=2e-4, weight_decay=0.0),
        ),
    )
