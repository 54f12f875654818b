"""The words of the built-in corpus: what is said, and the words that describe it.

A word that states a fact states it for one value alone: `emojax.config.concepts` lists them again, as CONCEPTS for the
emotion and ATTRIBUTES for all else, for those who want to know what a caption says.
"""

import random
import re

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
DEGREES = {  # what is left unsaid is what people leave unsaid: a middling degree mostly, the others at times
    "none": ("entirely", "quite", "perfectly", "wholly", ""),
    "slight": ("slightly", "a little", "somewhat", "mildly", "faintly", ""),
    "moderate": ("", "", "", "", "clearly", "rather"),
    "strong": ("deeply", "extremely", "intensely", "utterly", "thoroughly", ""),
}
AMOUNTS = {
    "none": ("plain", "simple", "steady"),
    "slight": ("a trace of", "a touch of", "a hint of", ""),
    "moderate": ("", "", "", "", "marked", "unmistakable"),
    "strong": ("great", "overwhelming", "intense", "powerful", ""),
}
VOICE = {  # what is heard
    "neutral": (
        "the pitch hardly moves",
        "the voice keeps to a level, ordinary tone",
        "nothing in the delivery stands out",
        "the melody is steady from start to finish",
        "the tone stays flat and plain",
    ),
    "happy": (
        "the pitch dances up and down",
        "the voice is bright, lively and warm",
        "the words come with a lilt",
        "the tone is sunny and sing-song",
        "a smile can be heard in the vowels",
    ),
    "sad": (
        "the voice is low and heavy",
        "the words sink",
        "the pitch droops toward the end",
        "each phrase fades like a sigh",
        "the tone is dull and drained",
    ),
    "angry": (
        "the voice is hard and forceful",
        "the words are sharp and clipped",
        "the tone is harsh and pressing",
        "every syllable hits like a blow",
        "the words are spat out",
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
        "the vowels come with a rasp",
        "the tone is gravelly and curls downward",
        "the words are pushed out with a growl",
        "the sound is rough and throaty",
    ),
    "fearful": (
        "the voice trembles",
        "the words come out thin and shaky",
        "the tone quivers, tight and high",
        "the pitch wavers nervously",
        "a shiver runs through the voice",
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
    ("woman", None): ("a woman", "a lady"),  # of an age that cannot be told
    ("man", None): ("a man", "a fellow"),
    ("woman", "young"): ("a young woman", "a girlish young lady", "a woman in her twenties"),
    ("woman", "middle-aged"): ("a middle-aged woman", "a woman in her forties", "a mature woman"),
    ("woman", "elderly"): ("an elderly woman", "an old lady", "a grey-haired woman"),
    ("man", "young"): ("a young man", "a youthful fellow", "a man in his twenties"),
    ("man", "middle-aged"): ("a middle-aged man", "a man in his forties", "a mature gentleman"),
    ("man", "elderly"): ("an elderly man", "an old gentleman", "a grey-haired man"),
}
TIMBRES = {  # each begins alike twice in three: where one value has the commoner first word, a guess would be that word
    "deep": ("a deep voice", "a deep, resonant voice", "a low-pitched voice"),
    "medium": ("a mid-range voice", "a mid-range, smooth voice", "a voice of medium pitch"),
    "high": ("a high voice", "a high, clear voice", "a light, bright voice"),
}

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


def transcript(rng: random.Random) -> str:
    """A sentence of about eight words that says nothing of how the speaker feels."""
    return re.sub(r"\w+(\|\w+)+", lambda words: rng.choice(words[0].split("|")), rng.choice(SENTENCES))
