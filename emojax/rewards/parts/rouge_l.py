"""ROUGE-L (Lin 2004), 0 to 1: the longest common subsequence of a caption and its clip's references."""

from dataclasses import dataclass

from emojax.rewards import ngrams
from emojax.rewards.inputs import Captions
from emojax.rewards.part import compared
from emojax.rewards.rouge import rouge_l
from emojax.types import Array, References


@dataclass(frozen=True)
class Options:
    tokens: ngrams.Tokens = "words"


def NEEDS(options: Options) -> tuple[str, ...]:
    return ngrams.needs(options.tokens)


def score(options: Options, arrays: None, captions: Captions, clips: References) -> Array:
    ours, theirs = ngrams.both(options.tokens, captions, clips)
    found = rouge_l(ours.ids, ours.mask, theirs.ids, theirs.mask, clips.present)
    return compared(found, ~ours.mask.any(-1), clips.present)
