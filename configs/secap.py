"""260 real Mandarin utterances with human captions, from nothing: `emojax train --config secap`.

The recordings lie in ../shared/data/secap; others by `--set data.manifest=PATH`. Two CPU cores: about 10 minutes. They
are too few to learn well from: expect the loss to fall to a third, the reward to rise, and Chinese captions that
stammer and stay below both floors (BENCHMARKS.md).
"""

from emojax.config import Concept, Config, Data, Grpo, Model, Optimizer, Reward, Sft
from emojax.families import AudioEncoder, Decoder

CONCEPTS = (  # the same seven emotions as in English, in the words of Chinese captions (ours)
    Concept("neutral", ("平静", "平淡", "冷静", "自然", "平和", "淡定")),
    Concept("happy", ("高兴", "开心", "快乐", "喜悦", "愉快", "兴奋")),
    Concept("sad", ("伤心", "悲伤", "难过", "痛苦", "悲痛", "失落")),
    Concept("angry", ("生气", "愤怒", "气愤", "恼火", "不满", "责备")),
    Concept("surprised", ("惊讶", "吃惊", "惊奇", "诧异", "震惊", "意外")),
    Concept("disgusted", ("厌恶", "反感", "嫌弃", "鄙视", "不屑", "讨厌")),
    Concept("fearful", ("害怕", "恐惧", "惊恐", "紧张", "担心", "惊慌")),
)


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
            audio=AudioEncoder(width=128, layers=3, tokens=16),
            video=None,
            decoder=Decoder(vocab=1536),
        ),
        reward=Reward(concepts=CONCEPTS, templates=("{}", "声音听起来{}", "说话人很{}", "语气{}", "情绪是{}")),
        sft=Sft(batch=16, optimizer=Optimizer(learning_rate=1e-3)),
        grpo=Grpo(batch=16, group=6),
    )
