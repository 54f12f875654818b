"""The preset `tiny` as it was written for emojax 0.1, in a file of its own that overrides another."""

from emojax.families import AudioEncoder, Decoder, VideoEncoder

from emojax import presets
from emojax.config import Config, Corpus, Data, Grpo, Model, Reward, Sft


def config() -> Config:
    tiny = Config(
        name="tiny",
        steps=7,
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
            audio=AudioEncoder(mels=20, width=16, layers=1, heads=2, ff=32, tokens=3),
            video=VideoEncoder(width=16, heads=2, ff=32, tokens=2),
            decoder=Decoder(vocab=384, width=32, layers=2, heads=4, kv_heads=2, head_width=8, ff=64),
        ),
        reward=Reward(max_bytes=96, max_tokens=32),
        sft=Sft(batch=8),
        grpo=Grpo(batch=8, group=4),
    )
    return presets.override(tiny, ["steps=20", "model.audio.mels=20", "model.audio_projector.family=LinearProjector"])
