"""What datasets call the emotions of `reward.concepts`: their words and codes, in English and Chinese."""

_SAID = {
    "neutral": "neutral neu 中立 中性 平静",
    "happy": "happy happiness joy hap exc excited 快乐 高兴 开心",
    "sad": "sad sadness 伤心 悲伤",
    "angry": "angry anger ang 生气 愤怒",
    "surprised": "surprised surprise sur 惊喜 惊讶",
    "disgusted": "disgusted disgust dis 厌恶",
    "fearful": "fearful fear fea 恐惧 害怕",
}
_CANONICAL = {word: name for name, words in _SAID.items() for word in words.split()}


def canonical(label: str) -> str | None:
    """The concept of a dataset's label; None where it has no counterpart (worried, contempt, frustrated, calm).

    >>> canonical("Joy"), canonical("NEU"), canonical("fru")
    ('happy', 'neutral', None)
    """
    return _CANONICAL.get(label.strip().casefold())
