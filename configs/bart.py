"""The paper's baseline BART: `mecap_r1` with bart-base as its decoder, 0.14 billion weights.

    emojax train --config bart --set data.manifest=PATH

bart-base speaks English; its byte-level tokens spell any script, Chinese in two or three tokens a character. Meant for
one GPU of 24 GB or eight chips of 16 GB; not run here on either: `emojax plan --config bart` says what a step needs.
"""

import dataclasses

from emojax.config import BartConfig, Config, presets


def config() -> Config:
    base = presets.load("mecap_r1")
    model = dataclasses.replace(base.model, decoder=BartConfig(padding=39, weights="facebook/bart-base"))
    return dataclasses.replace(base, name="bart", model=model, caption_tokens=128)
