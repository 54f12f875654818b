"""All of the demo, smaller: `emojax demo --fast`. Two CPU cores: under two minutes, and captions to match.

They are sentences of the right kind; the emotion in them is a guess.
"""

from emojax.config import (
    Config,
    Corpus,
    Data,
    FrameEncoderConfig,
    Grpo,
    LlamaConfig,
    MelEncoderConfig,
    Model,
    Optimizer,
    Reward,
    Sft,
)
from emojax.config.concepts import ATTRIBUTES


def config() -> Config:
    return Config(
        name="demo_fast",
        steps=6,
        sft_steps=150,
        checkpoint_every=50,
        sample_every=5,
        caption_tokens=32,
        data=Data(
            corpus=Corpus(clips=240, speakers=24),
            frames=2,
            frame_size=32,
            transcript_tokens=8,
            targets=2,
            references=2,
            workers=0,
        ),
        model=Model(
            audio=MelEncoderConfig(mels=40, width=64, layers=1, tokens=4),
            video=FrameEncoderConfig(width=64, tokens=2),
            decoder=LlamaConfig(vocab=768, width=64, layers=2, ff=192),
        ),
        reward=Reward(attributes=ATTRIBUTES, max_bytes=192, max_tokens=40),
        sft=Sft(batch=16, optimizer=Optimizer(learning_rate=3e-3)),
        grpo=Grpo(batch=16, group=4),
    )
