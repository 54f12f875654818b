"""Every pytree that crosses a file border, and the alphabet of its axes.

One letter an axis, the same in every einsum, field comment and docstring:

    B clips              G samples per clip     T caption positions    P prefix positions
    S source frames      D model width          F feed-forward width   N query heads
    K key/value heads    H head width           V vocabulary           E sentence-embedding width
    L layers             C emotion concepts     R reference captions   Q facts of a clip

Three more occur only on the way in: A, audio samples at 16 kHz, X, transcript positions, and M, target captions.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import struct

Array = jax.Array
Tree = Any  # a pytree of arrays
Weight = Any  # a leaf of a model's tree: a Param where it is declared, an Array where it is used, a shape in a plan


@struct.dataclass
class Text:
    """Texts as numbers: tokens, words or bytes."""

    ids: Array  # i32[... S]
    mask: Array  # bool[... S] True on the first positions, as many as there are


@struct.dataclass
class References:
    """What the parts of a reward read of each clip, made once before training; None: no part reads it."""

    present: Array  # bool[B R] False on padding, and on a caption without a single letter
    tokens: Any = None  # Text [B R T'] of the reference captions, the reward model's, without its special tokens
    embedding: Any = None  # f32[B R E] sentence embeddings, unit length
    words: Any = None  # Text [B R W]
    policy: Any = None  # Text [B R T] the policy's tokens
    transcript: Any = None  # Text, words [B W]
    own: Any = dataclasses.field(default_factory=dict)  # what a part alone reads, by its name; of one part, that


@struct.dataclass
class Features:
    """One stream of each clip as its encoder gives it, before it is projected; made once, and read instead of media."""

    x: Array  # f32[B S D]
    mask: Array  # bool[B S] True on the first positions, as many as are valid


@struct.dataclass
class Batch:
    """Clips of one length bucket, as numpy arrays on the host and as device arrays in the program.

    A missing stream has length 0 or an all-False mask; what the array holds there is never read as data. A stream that
    is read from features is missing in the same way; of its media the array has no samples or no frames.
    """

    clip_id: Array  # u32[B] a hash of the clip's id: its name in the sampling noise
    audio: Array  # f32[B A] 16 kHz mono
    audio_length: Array  # i32[B] samples of it that are valid; 0: the clip has no audio
    video: Array  # u8[B S height width 3] RGB frames, evenly spaced in time
    video_mask: Array  # bool[B S]
    transcript: Array  # i32[B X] decoder tokens
    transcript_mask: Array  # bool[B X]
    caption: Array  # i32[B M T] M target captions a clip, decoder tokens, each closed by the end token
    caption_mask: Array  # bool[B M T] True up to and including the end token; False throughout where there are fewer
    emotion: Array  # f32[B C] shares of the concepts in its labels, of one label a 1; 0 throughout: the clip has none
    references: References | None = None
    attributes: Array | None = None  # i32[B N] the place of its value of each of `reward.attributes`; -1: not known
    audio_features: Features | None = None  # in the place of `audio`
    video_features: Features | None = None  # in the place of `video`
    samples: Array | None = None  # i32[B G T] captions that are learnt from in place of sampled ones; 0 after the end


def batch_shapes(
    clips: int,
    *,
    samples: int,
    frames: int,
    size: int,
    transcript: int = 0,
    targets: int = 1,
    caption: int = 0,
    concepts: int = 0,
) -> Batch:
    """Shapes and types of a Batch of media, `jax.ShapeDtypeStruct`s: the one declaration of them.

    Blank batches, the arguments that programs are lowered for and made-up inputs are maps over it.

    Args:
      samples: A, of audio.
      frames: S, of `size` x `size` pixels.
      transcript: X. targets: M. caption: T. concepts: C.
    """

    def of(dtype: str, *shape: int) -> Any:  # a shape, where the program has an array
        return jax.ShapeDtypeStruct((clips, *shape), np.dtype(dtype))

    return Batch(
        clip_id=of("uint32"),
        audio=of("float32", samples),
        audio_length=of("int32"),
        video=of("uint8", frames, size, size, 3),
        video_mask=of("bool", frames),
        transcript=of("int32", transcript),
        transcript_mask=of("bool", transcript),
        caption=of("int32", targets, caption),
        caption_mask=of("bool", targets, caption),
        emotion=of("float32", concepts),
    )


def blank(shapes: Batch) -> Batch:
    """A Batch (numpy) of such shapes that holds nothing: tokens are padding (0), every mask is False, no clip has a
    label."""
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


@struct.dataclass
class Prefix:
    """What the decoder reads before a caption: the streams of a clip, projected to its width, side by side."""

    embed: Array  # [B P D]
    mask: Array  # bool[B P]


@struct.dataclass
class KVCache:
    """Keys (rotary phase applied) and values of every layer."""

    k: Array  # [L B ... positions K H]
    v: Array  # [L B ... positions K H]


@struct.dataclass
class Rollout:
    """G sampled captions per clip."""

    ids: Array  # i32[B G T] 0 after the end token
    mask: Array  # bool[B G T] True up to and including the end token
    logp: Array  # f32[B G T] log-probability of each token under the distribution it was drawn from; 0 off the mask
    ended: Array  # bool[B G] False: cut off at T before the end token


@struct.dataclass
class TrainState:
    """All that an optimizer step reads and writes."""

    step: Array  # i32[] steps taken, skipped ones included
    params: Tree  # what is trained, float32
    opt_state: Tree
    skipped: Array  # i32[] updates skipped in a row because the loss or a gradient was not finite
    reference: Tree = None  # of a reference policy that moves: its own values of what is trained, float32
    controls: Tree = None  # f32[] by name: weights of a loss that follow a target


@struct.dataclass
class Samples:
    """The captions that a step sampled and learnt from, for the log and for those who look at a step."""

    clip_id: Array  # u32[B]
    ids: Array  # i32[B G T]
    mask: Array  # bool[B G T]
    reward: Array  # f32[B G]
    parts: dict[str, Array]  # f32[B G] of the reward, by name
    advantage: Array  # f32[B G]


Metrics = dict[str, Any]  # f32[] by name; under "samples", where a step samples, Samples
