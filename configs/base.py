"""A captioner of the 100M class, trained from nothing: `emojax train --config base --set data.manifest=PATH`.

Meant for eight accelerators with 16 GiB or more each, bfloat16, and some ten thousand clips (EmotionTalk has 19,250:
about half a day on a v5e-8, an estimate from operation counts, not a measurement). No score is promised.
"""

from emojax.config import (
    Config,
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


def config() -> Config:
    return Config(
        name="base",
        precision="bfloat16",
        steps=2_000,
        sft_steps=20_000,
        checkpoint_every=500,
        caption_tokens=64,
        data=Data(audio_seconds=(5.0, 10.0, 20.0), frames=16, frame_size=80, transcript_tokens=64, workers=8),
        model=Model(
            audio=MelEncoderConfig(mels=80, width=512, layers=8, heads=8, ff=2048, tokens=32),
            video=FrameEncoderConfig(width=512, spatial_layers=4, temporal_layers=4, heads=8, ff=2048, tokens=16),
            decoder=LlamaConfig(vocab=8192, width=640, layers=10, heads=10, kv_heads=2, head_width=64, ff=1792),
            remat=True,
        ),
        reward=Reward(max_bytes=384, max_tokens=96),
        sft=Sft(batch=64, optimizer=Optimizer(learning_rate=5e-4)),
        grpo=Grpo(batch=32, group=8, optimizer=Optimizer(learning_rate=2e-5, weight_decay=0.0)),
    )
