"""The captions of the built-in corpus: a scene in whole sentences.

A clip has five captions, as an EmotionTalk utterance has: about the speaker, about the manner of speaking, about the
emotion, and two of the whole. Each names the emotion with a word of `CONCEPTS`, in a degree that fits its intensity,
and says which of voice and face tells it; none uses a word of another emotion.

Besides, a clip has captions of what is heard alone, seen alone and read alone. They say what is apparent there: a face
at rest looks calm, whatever the voice tells, and no ear tells an age.
"""

import dataclasses
import random
from dataclasses import dataclass

from emojax.corpus import wording

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
SEEN_CAPTIONS = (
    "{Who} {verb} {feel}; {cue}.",
    "{Cue}, and {who} {verb} {feel}.",
    "The picture shows {who} who {verb} {feel}: {cue}.",
    "{A_before} {person} is seen; {cue}.",
)
READ_CAPTIONS = (
    "Someone says an everyday sentence; nothing in the words tells a feeling.",
    "The speaker mentions something ordinary, and the words give no feeling away.",
    "A plain remark is made; how it is meant cannot be told from the words.",
)


@dataclass(frozen=True)
class Scene:
    """What there is to say about a clip; None for what cannot be told."""

    emotion: str
    intensity: str  # slight, moderate or strong; "none" where the emotion is neutral
    style: str | None  # one of wording.STYLES
    told: str  # what shows the emotion: voice, face or both
    filmed: bool  # there is a face to see
    gender: str  # woman or man
    age: str | None  # young, middle-aged or elderly
    timbre: str | None  # one of wording.TIMBRES


def heard(scene: Scene) -> Scene:
    """What the sound alone tells."""
    return dataclasses.replace(_apparent(scene, "voice"), filmed=False, age=None)


def seen(scene: Scene) -> Scene:
    """What the film alone tells."""
    return dataclasses.replace(_apparent(scene, "face"), style=None, timbre=None)


def _apparent(scene: Scene, stream: str) -> Scene:
    shown = scene.told in (stream, "both")
    emotion, intensity = (scene.emotion, scene.intensity) if shown else ("neutral", "none")
    return dataclasses.replace(scene, told=stream, emotion=emotion, intensity=intensity)


def captions(scene: Scene, rng: random.Random) -> tuple[str, ...]:
    """Five different captions: of the speaker, the style, the emotion, and two of the whole."""
    scene = scene if scene.filmed else heard(scene)
    kinds = (SPEAKER_CAPTIONS, STYLE_CAPTIONS, EMOTION_CAPTIONS)
    patterns = [*(rng.choice(kind) for kind in kinds), *rng.sample(WHOLE_CAPTIONS, 2)]
    return tuple(_fill(pattern, scene, rng) for pattern in patterns)


def partial_captions(scene: Scene, rng: random.Random) -> dict[str, tuple[str, ...]]:
    """Captions of one stream alone, by its name in the manifest; none of sound where there is nothing else to see."""
    read: dict[str, tuple[str, ...]] = {"transcript": tuple(rng.sample(READ_CAPTIONS, 2))}
    if not scene.filmed:  # the clip's own captions say what is heard
        return read
    by_eye = tuple(_fill(pattern, seen(scene), rng) for pattern in rng.sample(SEEN_CAPTIONS, 2))
    return {"audio": captions(heard(scene), rng), "video": by_eye} | read


def _fill(pattern: str, scene: Scene, rng: random.Random) -> str:
    """`pattern` with the scene's facts, each in words drawn anew."""
    words = wording.WORDS[scene.emotion][wording.LEVELS[scene.intensity]]
    word = rng.choice(words)
    before = rng.choice([degree for degree in wording.DEGREES[scene.intensity] if degree != "a little"])
    before = f"{before} {rng.choice([other for other in words if other not in wording.AFTER])}".strip()
    by_ear = scene.told == "voice" or (scene.told == "both" and rng.random() < 0.5)
    stream = "voice" if by_ear else "face"
    alone = not scene.filmed or scene.style is None  # nothing is known of the other stream
    facts = {
        "who": rng.choice(wording.PEOPLE[scene.gender, scene.age]),
        "person": scene.gender,
        "she": "she" if scene.gender == "woman" else "he",
        "her": "her" if scene.gender == "woman" else "his",
        "timbre": rng.choice(wording.TIMBRES[scene.timbre]) if scene.timbre else "",
        "style": rng.choice(wording.STYLES[scene.style]) if scene.style else "",
        "verb": rng.choice(("sounds", "sounds", "seems") if by_ear else ("looks", "looks", "appears")),
        "word": word,
        "feel": f"{rng.choice(wording.DEGREES[scene.intensity])} {word}".strip(),
        "a_before": f"{'an' if before[0] in 'aeiou' else 'a'} {before}",
        "amount": rng.choice(wording.AMOUNTS[scene.intensity]),
        "noun": rng.choice(wording.NOUNS[scene.emotion]),
        "cue": rng.choice((wording.VOICE if by_ear else wording.FACE)[scene.emotion]),
        "stream": "voice and the face" if scene.told == "both" else stream,
        "turn": "" if scene.emotion == "neutral" or alone else rng.choice(wording.TURNS[scene.told]),
    }
    facts |= {name.capitalize(): value[:1].upper() + value[1:] for name, value in facts.items()}
    return " ".join(pattern.format(**facts).split())  # a degree or an amount may be left unsaid
