"""The words of the built-in corpus: what is said, and how it is described.

A clip has five captions, as an EmotionTalk utterance has: about the speaker, about the manner of speaking, about the
emotion, and two of the whole. Each names the emotion with a word of `emojax.concepts.CONCEPTS`, in a degree that fits
its intensity, and says which of voice and face tells it; none uses a word of another emotion.
"""

import random
import re
from dataclasses import dataclass

INTENSITIES = ("slight", "moderate", "strong")
LEVELS = {"none": 0, "slight": 0, "moderate": 1, "strong": 2}  # of WORDS

WORDS = {  # emotion -> the words that fit each intensity
    "neutral": (("neutral", "calm", "even", "composed", "matter-of-fact", "unemotional"),) * 3,
    "happy": (("happy", "pleased", "glad"), ("happy", "cheerful", "happy"), ("happy", "joyful", "delighted")),
    "sad": (("sad", "unhappy", "downcast"), ("sad", "gloomy", "sad"), ("sad", "sorrowful", "dejected")),
    "angry": (("angry", "irritated", "annoyed"), ("angry", "resentful", "angry"), ("angry", "furious", "enraged")),
    "surprised": (
        ("surprised", "surprised", "taken aback"),
        ("surprised", "startled", "amazed"),
        ("surprised", "astonished", "shocked"),
    ),
    "disgusted": (
        ("disgusted", "contemptuous", "averse to it"),
        ("disgusted", "repulsed", "disgusted"),
        ("disgusted", "revolted", "sickened"),
    ),
    "fearful": (
        ("fearful", "anxious", "fearful"),
        ("afraid", "scared", "fearful"),
        ("frightened", "terrified", "fearful"),
    ),
}
AFTER = ("afraid", "even", "glad", "averse to it", "taken aback", "pleased")  # words that do not stand before a noun
NOUNS = {
    "neutral": ("calmness", "composure"),
    "happy": ("happiness", "joy", "delight", "good cheer"),
    "sad": ("sadness", "sorrow", "gloom", "grief"),
    "angry": ("anger", "irritation", "rage", "annoyance"),
    "surprised": ("surprise", "astonishment", "amazement"),
    "disgusted": ("disgust", "revulsion", "aversion", "distaste"),
    "fearful": ("fear", "fright", "anxiety", "dread"),
}
DEGREES = {
    "none": ("entirely", "quite", "perfectly", "wholly", ""),
    "slight": ("slightly", "a little", "somewhat", "mildly", "faintly"),
    "moderate": ("clearly", "plainly", "rather", "quite", ""),
    "strong": ("deeply", "extremely", "intensely", "utterly", "thoroughly"),
}
AMOUNTS = {
    "none": ("plain", "simple", "steady"),
    "slight": ("a trace of", "a touch of", "a hint of"),
    "moderate": ("clear", "unmistakable", "plain"),
    "strong": ("great", "overwhelming", "intense", "powerful"),
}
VOICE = {  # what is heard
    "neutral": (
        "the pitch hardly moves",
        "the voice keeps to a level, ordinary tone",
        "nothing in the delivery stands out",
        "the melody is steady from start to finish",
        "the loudness stays moderate",
    ),
    "happy": (
        "the pitch dances up and down",
        "the voice is bright, lively and warm",
        "the words come with a lilt",
        "the tone is sunny and sing-song",
        "a smile can be heard in the vowels",
    ),
    "sad": (
        "the voice is low, soft and heavy",
        "the words drag and sink",
        "the pitch droops toward the end",
        "each phrase fades like a sigh",
        "the tone is dull and drained",
    ),
    "angry": (
        "the voice is hard and forceful",
        "the words are sharp and clipped",
        "the tone is harsh and pressing",
        "every syllable hits like a blow",
        "the volume is thrown at the listener",
    ),
    "surprised": (
        "the pitch leaps at the end",
        "the voice jumps up high",
        "the tone shoots upward like a question",
        "the melody climbs steeply",
        "the last word soars",
    ),
    "disgusted": (
        "the voice creaks and rattles",
        "the vowels are drawn out with a rasp",
        "the tone is gravelly and curls downward",
        "the words are pushed out with a growl",
        "the sound is rough and throaty",
    ),
    "fearful": (
        "the voice trembles",
        "the words rush out thin and shaky",
        "the tone quivers, tight and high",
        "the pitch wavers nervously",
        "short breaths break the phrases",
    ),
}
FACE = {  # what is seen
    "neutral": (
        "the face is at rest",
        "the brows and lips stay still",
        "the features are relaxed",
        "the gaze is steady",
        "no muscle of the face is tense",
    ),
    "happy": (
        "a smile lifts the cheeks",
        "the lips curve into a grin",
        "the eyes crinkle above a smile",
        "the mouth beams from ear to ear",
        "the cheeks are raised and rosy",
    ),
    "sad": (
        "the corners of the mouth turn down",
        "the inner brows slant upward",
        "the lips droop and the head hangs",
        "the gaze drops to the ground",
        "the mouth sags below troubled brows",
    ),
    "angry": (
        "the brows are pulled down into a glare",
        "the lips are pressed together",
        "a frown hardens the eyes",
        "the forehead is furrowed above a tight mouth",
        "the lids narrow under lowered brows",
    ),
    "surprised": (
        "the eyebrows shoot up",
        "the jaw drops open",
        "the eyes are round and the mouth gapes",
        "the forehead lifts above staring eyes",
        "the mouth forms a tall oval",
    ),
    "disgusted": (
        "the nose wrinkles",
        "the upper lip curls in a grimace",
        "the face screws up around the nose",
        "deep folds run beside the nostrils",
        "the lip is raised as if at a bad smell",
    ),
    "fearful": (
        "the eyes are wide under knitted brows",
        "the lips are stretched back",
        "the whole face is tense with staring eyes",
        "the lids are pulled open and the mouth is strained",
        "the brows rise and draw together",
    ),
}
TURNS = {  # what the other stream says of it
    "voice": (
        ", while the face gives nothing away",
        ", though the face does not show it",
        ", as only the voice reveals",
    ),
    "face": (", while the voice gives nothing away", ", though the voice hides it", ", as only the face reveals"),
    "both": (" in voice and face alike", ", and both voice and face say so", ""),
}
STYLES = {
    "plain": ("at an everyday pace", "in an ordinary manner", "in a conversational way", "at a normal volume"),
    "fast": ("quickly", "at a brisk pace", "rapidly", "in a hurry", "swiftly"),
    "slow": ("slowly", "at an unhurried pace", "with long drawn syllables", "without any haste", "leisurely"),
    "whispering": ("in a whisper", "under the breath", "in hushed tones", "very softly", "almost without voice"),
    "loud": ("loudly", "at full volume", "in a booming manner", "with a raised voice", "for the whole room to hear"),
    "hesitant": ("haltingly", "with many pauses", "hesitantly", "in fits and starts", "with gaps between words"),
}
PEOPLE = {
    ("woman", "young"): ("a young woman", "a girlish young lady", "a woman in her twenties"),
    ("woman", "middle-aged"): ("a middle-aged woman", "a woman in her forties", "a mature woman"),
    ("woman", "elderly"): ("an elderly woman", "an old lady", "a grey-haired woman"),
    ("man", "young"): ("a young man", "a youthful fellow", "a man in his twenties"),
    ("man", "middle-aged"): ("a middle-aged man", "a man in his forties", "a mature gentleman"),
    ("man", "elderly"): ("an elderly man", "an old gentleman", "a grey-haired man"),
}
TIMBRES = {
    "deep": ("a deep voice", "a low-pitched voice", "a dark, resonant voice"),
    "medium": ("a voice of medium pitch", "a mid-range voice", "an average register"),
    "high": ("a high voice", "a high-pitched voice", "a light, clear voice"),
}

SPEAKER_CAPTIONS = (
    "{Who} with {timbre} {verb} {feel}; {cue}.",
    "{Who} speaks with {timbre}, and {she} {verb} {feel}.",
    "The speaker, {who}, {verb} {feel}, and {cue}.",
    "This is {who} with {timbre}, {feel} in this clip.",
    "{Who} {verb} {feel} here: {cue}.",
    "We meet {who} who {verb} {feel}, with {timbre}.",
)
STYLE_CAPTIONS = (
    "{Who} talks {style} and {verb} {feel}.",
    "Speaking {style}, {who} {verb} {feel}.",
    "The sentence is spoken {style}; the {person} {verb} {feel}.",
    "{Style}, the {person} speaks, and {she} {verb} {feel}.",
    "The delivery is given {style} by {who}, {feel} throughout.",
    "Words are uttered {style}; {cue}, so the {person} {verb} {feel}.",
)
EMOTION_CAPTIONS = (
    "The {person} {verb} {feel}: {cue}{turn}.",
    "Because {cue}, the {person} {verb} {feel}{turn}.",
    "{Cue}, which tells us that the {person} is {feel}.",
    "One notices {amount} {noun}: {cue}, and the {person} {verb} {word}.",
    "{Her} mood is that of {a_before} person, since {cue}.",
    "Judging by the {stream}, {she} is {feel}.",
    "The emotion is {amount} {noun}; the {person} {verb} {word}{turn}.",
)
WHOLE_CAPTIONS = (
    "{Who} speaks {style} and {verb} {feel}; {cue}{turn}.",
    "{Who} {verb} {feel}, speaking {style}, and {cue}.",
    "Although {she} speaks {style}, {cue}, and the {person} {verb} {feel}.",
    "In this clip {who} {verb} {feel}{turn}; the words come {style}.",
    "{Cue} as {who} speaks {style}: {she} {verb} {feel}.",
    "With {timbre}, {who} speaks {style}, and {verb} {feel}.",
    "{A_before} {person} speaks {style}; {cue}{turn}.",
    "{She} {verb} {feel} while talking {style}, as {cue}.",
)

SENTENCES = (  # of what is said; one of the words between bars is drawn
    "The train|bus|ferry|coach to the coast|city|island leaves at seven|nine|noon|eight.",
    "My brother|cousin|neighbour put the keys|letters|papers on the table|shelf|counter.",
    "We moved|found|counted the boxes|chairs|books in the kitchen|garage|office.",
    "The door|fence|gate on the corner|hill|left was painted green|white|yellow.",
    "They will open|visit|measure the library|workshop|market on Monday|Tuesday|Thursday.",
    "She read|copied|folded the report|map|menu before lunch|dinner|breakfast.",
    "There are seven|twelve|twenty apples|cups|pencils in the basket|drawer|cupboard.",
    "The bank|bakery|museum is next to the old|new|stone bridge|station|school.",
    "He parked|washed|borrowed the car|van|bicycle a little after seven|nine|noon|eight.",
    "The next|weekly|second meeting is on Monday|Tuesday|Thursday at seven|nine|noon.",
    "Please leave|place|hang the coat|bag|umbrella by the window|stairs|door.",
    "The soup|salad|sandwich comes with bread|rice|cheese and water|tea|milk.",
)


@dataclass(frozen=True)
class Scene:
    """What there is to say about a clip."""

    emotion: str
    intensity: str  # slight, moderate or strong; "none" where the emotion is neutral
    style: str  # one of STYLES
    told: str  # what shows the emotion: voice, face or both
    filmed: bool  # there is a face to see
    gender: str  # woman or man
    age: str  # young, middle-aged or elderly
    timbre: str  # one of TIMBRES


def transcript(rng: random.Random) -> str:
    """A sentence of about eight words that says nothing of how the speaker feels."""
    return re.sub(r"\w+(\|\w+)+", lambda words: rng.choice(words[0].split("|")), rng.choice(SENTENCES))


def captions(scene: Scene, rng: random.Random) -> tuple[str, ...]:
    """Five different captions: of the speaker, the style, the emotion, and two of the whole."""
    kinds = (SPEAKER_CAPTIONS, STYLE_CAPTIONS, EMOTION_CAPTIONS)
    patterns = [*(rng.choice(kind) for kind in kinds), *rng.sample(WHOLE_CAPTIONS, 2)]
    return tuple(_fill(pattern, scene, rng) for pattern in patterns)


def _fill(pattern: str, scene: Scene, rng: random.Random) -> str:
    """`pattern` with the scene's facts, each in words drawn anew."""
    words = WORDS[scene.emotion][LEVELS[scene.intensity]]
    word = rng.choice(words)
    before = rng.choice([degree for degree in DEGREES[scene.intensity] if degree != "a little"])
    before = f"{before} {rng.choice([other for other in words if other not in AFTER])}".strip()
    heard = scene.told == "voice" or (scene.told == "both" and rng.random() < 0.5)
    stream = "voice" if heard else "face"
    hidden = "" if scene.emotion == "neutral" or not scene.filmed else rng.choice(TURNS[scene.told])
    facts = {
        "who": rng.choice(PEOPLE[scene.gender, scene.age]),
        "person": scene.gender,
        "she": "she" if scene.gender == "woman" else "he",
        "her": "her" if scene.gender == "woman" else "his",
        "timbre": rng.choice(TIMBRES[scene.timbre]),
        "style": rng.choice(STYLES[scene.style]),
        "verb": rng.choice(("sounds", "sounds", "seems") if heard else ("looks", "looks", "appears")),
        "word": word,
        "feel": f"{rng.choice(DEGREES[scene.intensity])} {word}".strip(),
        "a_before": f"{'an' if before[0] in 'aeiou' else 'a'} {before}",
        "amount": rng.choice(AMOUNTS[scene.intensity]),
        "noun": rng.choice(NOUNS[scene.emotion]),
        "cue": rng.choice((VOICE if heard else FACE)[scene.emotion]),
        "stream": "voice and the face" if scene.told == "both" else stream,
        "turn": hidden,
    }
    facts |= {name.capitalize(): value[:1].upper() + value[1:] for name, value in facts.items()}
    return pattern.format(**facts)
