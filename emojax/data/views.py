"""What training hides of a clip, so that the captioner learns to do with less, and the captions that then hold.

Numpy alone, named by (seed, batch, clip): neither the mesh nor the workers change who loses what.
"""

from dataclasses import dataclass, replace

from emojax.data.clips import Clip
from emojax.data.order import bits
from emojax.data.reader import Decoded, View

_HIDE = 0x68696465  # apart from the numbers that captions are drawn by


@dataclass(frozen=True)
class Hiding:
    """Probabilities, of a clip in a batch. A clip keeps a stream at least."""

    stream: float = 0.0  # of its audio, and likewise of its video, where it has both
    media: float = 0.0  # of all its media, where captions of its transcript alone are given
    transcript: float = 0.0  # of its transcript, where it has media


def view(clip: Clip, decoded: Decoded, hiding: Hiding, seed: int, i: int) -> View:
    """The clip in batch `i`. Where no captions of what is left are given, those of the whole clip are learnt from."""
    stream, media, words = (n / 2**64 for n in bits(3, seed, i, _HIDE, *clip.id.encode()).tolist())
    there = [name for name, has in (("audio", decoded.samples > 0), ("video", decoded.frames)) if has]
    left, transcript = there, clip.transcript
    if media < hiding.media and clip.captions_of.get("transcript"):
        left = []
    elif len(there) == 2 and not hiding.stream <= stream < 1 - hiding.stream:
        left = there[1:] if stream < hiding.stream else there[:1]
    if left and words < hiding.transcript:
        transcript = None
    captions = () if left == there else clip.captions_of.get(left[0] if left else "transcript", ())
    if "audio" not in left:
        decoded = replace(decoded, audio=None, samples=0)
    if "video" not in left:
        decoded = replace(decoded, video=None, frames=False)
    return View(clip, decoded, transcript, captions or clip.captions, whole=not captions)
