"""`mecap_r1` with Chinese HuBERT large and Qwen2.5-7B: `emojax train --config mecap_r1_large --set data.manifest=PATH`.

7.6 billion weights are trained in bfloat16 with float32 masters and Adam moments, about 140 GB with the reference
policy. Meant for eight GPUs of 80 GB or a pod slice with as much, and `--set mesh.fsdp=8` or more; not run here on
either: `emojax plan --config mecap_r1_large` says what a step needs.
"""

import dataclasses

from emojax.config import Config, LlamaConfig, Wav2Vec2Config, presets


def config() -> Config:
    base = presets.load("mecap_r1")
    audio = Wav2Vec2Config(
        kind="hubert",
        conv_bias=True,
        conv_norm="layer",
        width=1024,
        layers=24,
        heads=16,
        ff=4096,
        norm_first=True,
        tokens=32,
        weights="TencentGameMate/chinese-hubert-large",
    )
    decoder = LlamaConfig(
        vocab=152_064,
        width=3584,
        layers=28,
        heads=28,
        kv_heads=4,
        head_width=128,
        ff=18_944,
        rope_theta=1e6,
        positions=131_072,
        tie=False,
        start_token=151_643,
        end_token=151_643,
        weights="Qwen/Qwen2.5-7B",
    )
    model = dataclasses.replace(base.model, audio=audio, decoder=decoder)
    return dataclasses.replace(base, name="mecap_r1_large", model=model)
