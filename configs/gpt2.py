"""The paper's baseline GPT-2: `mecap_r1` with the smallest GPT-2 as its decoder, 0.12 billion weights.

    emojax train --config gpt2 --set data.manifest=PATH

GPT-2 speaks English; its byte-level tokens spell any script, Chinese in two or three tokens a character. Meant for one
GPU of 24 GB or eight chips of 16 GB; not run here on either: `emojax plan --config gpt2` says what a step needs.
"""

import dataclasses

from emojax.config import Config, Gpt2Config, presets


def config() -> Config:
    base = presets.load("mecap_r1")
    model = dataclasses.replace(base.model, decoder=Gpt2Config(padding=47, weights="gpt2"))
    return dataclasses.replace(base, name="gpt2", model=model, caption_tokens=128)
