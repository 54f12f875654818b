"""The emotions of the coordinate space, in the words of captions: EmotionTalk's seven, in its code order."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Concept:
    """One emotion of the coordinate space: its name in the labels, and the words that stand for it."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Attribute:
    """A fact of a clip that a caption may state: its name in the manifest, and the words that state each value."""

    name: str
    values: tuple[Concept, ...]


CONCEPTS = (  # the synonyms are ours
    Concept("neutral", ("neutral", "calm", "composed", "even", "matter-of-fact", "unemotional")),
    Concept("happy", ("happy", "joyful", "cheerful", "delighted", "pleased", "glad")),
    Concept("sad", ("sad", "sorrowful", "dejected", "gloomy", "unhappy", "downcast")),
    Concept("angry", ("angry", "furious", "irritated", "annoyed", "enraged", "resentful")),
    Concept("surprised", ("surprised", "astonished", "amazed", "startled", "shocked", "taken aback")),
    Concept("disgusted", ("disgusted", "repulsed", "revolted", "averse", "sickened", "contemptuous")),
    Concept("fearful", ("fearful", "afraid", "scared", "frightened", "anxious", "terrified")),
)
TEMPLATES = ("{}", "a {} voice", "the speaker sounds {}", "a person who feels {}", "the emotion is {}")

CONCEPTS_ZH = (  # the same, in the words of Chinese captions (ours)
    Concept("neutral", ("平静", "平淡", "冷静", "自然", "平和", "淡定")),
    Concept("happy", ("高兴", "开心", "快乐", "喜悦", "愉快", "兴奋")),
    Concept("sad", ("伤心", "悲伤", "难过", "痛苦", "悲痛", "失落")),
    Concept("angry", ("生气", "愤怒", "气愤", "恼火", "不满", "责备")),
    Concept("surprised", ("惊讶", "吃惊", "惊奇", "诧异", "震惊", "意外")),
    Concept("disgusted", ("厌恶", "反感", "嫌弃", "鄙视", "不屑", "讨厌")),
    Concept("fearful", ("害怕", "恐惧", "惊恐", "紧张", "担心", "惊慌")),
)
TEMPLATES_ZH = ("{}", "声音听起来{}", "说话人很{}", "语气{}", "情绪是{}")

# Adverbs and nouns of the words in CONCEPTS. A listed word brings its forms with it; the list is
# explicit because endings do not tell: "evening" is not even, "madam" is not mad.
_FORMS = {
    "neutral": "neutrally neutrality",
    "calm": "calmly calmness",
    "composed": "composedly composure",
    "even": "evenly evenness",
    "matter-of-fact": "matter-of-factly",
    "unemotional": "unemotionally",
    "happy": "happily happiness",
    "joyful": "joyfully joyfulness joyous joy",
    "cheerful": "cheerfully cheerfulness",
    "delighted": "delightedly delight",
    "pleased": "pleasure",
    "glad": "gladly gladness",
    "sad": "sadly sadness saddened",
    "sorrowful": "sorrowfully sorrow",
    "dejected": "dejectedly dejection",
    "gloomy": "gloomily gloom gloominess",
    "unhappy": "unhappily unhappiness",
    "angry": "angrily anger",
    "furious": "furiously fury",
    "irritated": "irritatedly irritation",
    "annoyed": "annoyance",
    "enraged": "rage",
    "resentful": "resentfully resentment",
    "surprised": "surprise",
    "astonished": "astonishment",
    "amazed": "amazement",
    "shocked": "shock",
    "disgusted": "disgustedly disgust",
    "repulsed": "repulsion",
    "revolted": "revulsion",
    "averse": "aversion",
    "contemptuous": "contemptuously contempt",
    "fearful": "fearfully fearfulness fear",
    "frightened": "fright",
    "anxious": "anxiously anxiety",
    "terrified": "terror",
}


def with_forms(concept: Concept) -> Concept:
    """The concept with the adverbs and nouns of its words, by which a caption names it as well."""
    forms = (form for word in concept.words for form in _FORMS.get(word.casefold(), "").split())
    return Concept(concept.name, tuple(dict.fromkeys((*concept.words, *forms))))


ATTRIBUTES = (  # of the built-in corpus: every word by which its captions state a fact
    Attribute(
        "gender",
        (
            Concept("woman", ("woman", "lady", "female", "she", "her")),
            Concept("man", ("man", "gentleman", "fellow", "male", "he", "his")),
        ),
    ),
    Attribute(
        "age",
        (
            Concept("young", ("young", "girlish", "youthful", "in her twenties", "in his twenties")),
            Concept("middle-aged", ("middle-aged", "mature", "in her forties", "in his forties")),
            Concept("elderly", ("elderly", "old", "grey-haired")),
        ),
    ),
    Attribute(
        "timbre",
        (
            Concept("deep", ("deep voice", "deep, resonant voice", "low-pitched voice")),
            Concept("medium", ("mid-range voice", "mid-range, smooth voice", "voice of medium pitch")),
            Concept("high", ("high voice", "high, clear voice", "light, bright voice")),
        ),
    ),
    Attribute(
        "style",
        (
            Concept("plain", ("everyday pace", "ordinary manner", "conversational way", "normal volume")),
            Concept("fast", ("quickly", "brisk pace", "rapidly", "in a hurry", "swiftly")),
            Concept("slow", ("slowly", "unhurried pace", "long drawn syllables", "without any haste", "leisurely")),
            Concept(
                "whispering", ("whisper", "under the breath", "hushed tones", "very softly", "almost without voice")
            ),
            Concept("loud", ("loudly", "full volume", "booming manner", "raised voice", "for the whole room to hear")),
            Concept("hesitant", ("haltingly", "many pauses", "hesitantly", "fits and starts", "gaps between words")),
        ),
    ),
    Attribute(
        "intensity",
        (
            Concept("slight", ("slightly", "a little", "somewhat", "mildly", "faintly", "trace", "touch", "hint")),
            Concept("moderate", ("clearly", "rather", "marked", "unmistakable")),
            Concept(
                "strong",
                (
                    *("deeply", "extremely", "intensely", "utterly", "thoroughly"),
                    *("great", "overwhelming", "intense", "powerful"),
                ),
            ),
        ),
    ),
)
