"""Seconds a run, for tests: `emojax train --config tiny --out runs/tiny`. Unchanged on 1 and on 8 devices.

It learns nothing worth hearing; no score is expected of it.
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
    Reward,
    Sft,
)


def config() -> Config:
    return Config(
        name="tiny",
        steps=20,
        checkpoint_every=5,
        sample_every=5,
        caption_tokens=16,
        data=Data(
            corpus=Corpus(clips=56, speakers=24, seconds=1.0, frame_size=32, fps=6),
            audio_seconds=(2.0,),
            frames=2,
            frame_size=16,
            transcript_tokens=8,
            references=2,
            workers=0,
        ),
        model=Model(
            audio=MelEncoderConfig(mels=20, width=16, layers=1, heads=2, ff=32, tokens=3),
            video=FrameEncoderConfig(width=16, heads=2, ff=32, tokens=2),
            decoder=LlamaConfig(vocab=384, width=32, layers=2, heads=4, kv_heads=2, head_width=8, ff=64),
        ),
        reward=Reward(max_bytes=96, max_tokens=32),
        sft=Sft(batch=8),
        grpo=Grpo(batch=8, group=4),
    )
