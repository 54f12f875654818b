"""Published models in a captioner: from a hub id or a directory to sizes, weights and a tokenizer.

A part of the captioner whose configuration has `weights` is read from there. The files' own `config.json` decides its
family and sizes, and their preprocessor how the host prepares frames; a preset's sizes stand in where they are not at
hand. Every family's file says how its `config.json` and its weights' names are read.
"""

import dataclasses
import operator
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from emojax import param
from emojax.config import (
    AudioConfig,
    Config,
    ConfigError,
    DecoderConfig,
    FeatureFilesConfig,
    FrameEncoderConfig,
    MelEncoderConfig,
    VideoConfig,
    VideoMaeConfig,
    VitConfig,
    Wav2Vec2Config,
    WhisperConfig,
)
from emojax.data.text import bounds, pretrained_tokenizer, with_special
from emojax.decoder import bart, captioner, gpt2, llama, lm
from emojax.encoders import media, videomae, vit, wav2vec2, whisper
from emojax.errors import shown
from emojax.hub import weights
from emojax.hub.locate import local, locate, read_json
from emojax.hub.options import naming, read_config
from emojax.types import Tree

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROWS = 128  # a vocabulary is padded to a multiple of it, so that a mesh can shard its tables


def resolve(cfg: Config, fetch: bool) -> Config:
    """The configuration with the families and sizes that the files of its pretrained parts say.

    Args:
      fetch: the files are needed: they are downloaded where they are not at hand. Otherwise sizes stay as they are
        written for a part whose files are not here.
    Raises:
      FileNotFoundError: `fetch`, and no such directory or hub id.
      ConfigError: a model of another family, or with an option that is not implemented; says which.
    """
    model, data = cfg.model, cfg.data
    if model.audio and (at := _find(model.audio.weights, fetch)):
        with naming(at):
            model = dataclasses.replace(model, audio=_audio_config(at, model.audio))
    if model.video and (at := _find(model.video.weights, fetch)):
        with naming(at):
            video, prepared = _video_config(at, model.video)
        model, data = dataclasses.replace(model, video=video), dataclasses.replace(data, **prepared)
    if at := _find(model.decoder.weights, fetch):
        with naming(at):
            model = dataclasses.replace(model, decoder=_decoder_config(at, model.decoder))
    return dataclasses.replace(cfg, model=model, data=data)


def _find(model: str, fetch: bool) -> Path | None:
    if not model:
        return None
    return locate(model) if fetch else local(model)


def _read(at: Path, part: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Model type, configuration and preprocessor; the latter is a `part` of transformers 5's file of all processors."""
    json = read_config(at)
    preprocessor = read_json(at / "preprocessor_config.json", optional=True)
    if not preprocessor:
        preprocessor = read_json(at / "processor_config.json", optional=True).get(part, {})
        if not isinstance(preprocessor, dict):
            raise ValueError(f"{at}/processor_config.json: {part}={shown(preprocessor)} (wanted an object)")
    return json.get("model_type", "none"), json, preprocessor


def _audio_config(at: Path, was: AudioConfig) -> AudioConfig:
    kind, json, preprocessor = _read(at, "feature_extractor")
    match kind:
        case _ if kind in wav2vec2.TYPES:
            found = wav2vec2.config(json, preprocessor)
        case "whisper":
            found = whisper.config(json, preprocessor)
        case _:
            raise ConfigError(f"model_type={kind!r} is no audio encoder; wanted {', '.join(wav2vec2.TYPES)} or whisper")
    return dataclasses.replace(found, weights=was.weights, tokens=was.tokens, layer=getattr(was, "layer", -1))


def _video_config(at: Path, was: VideoConfig) -> tuple[VideoConfig, dict[str, Any]]:
    kind, json, preprocessor = _read(at, "image_processor")
    match kind:
        case _ if kind in vit.TYPES:
            found = vit.config(json, preprocessor)
            prepared = vit.frames(found, preprocessor)
        case "videomae":
            found = videomae.config(json, preprocessor)
            prepared = videomae.frames(found, preprocessor)
        case "siglip2" | "siglip2_vision_model":
            raise ConfigError(
                f"model_type={kind!r}: NaFlex, which reads images of any shape, is not implemented; wanted a SigLIP 2"
                " of a fixed resolution, such as google/siglip2-base-patch16-224"
            )
        case _:
            raise ConfigError(f"model_type={kind!r} is no video encoder; wanted {', '.join(vit.TYPES)} or videomae")
    return dataclasses.replace(found, weights=was.weights, tokens=was.tokens), prepared


def _decoder_config(at: Path, was: DecoderConfig) -> DecoderConfig:
    json = read_config(at)
    kind = json.get("model_type", "none")
    match kind:
        case _ if kind in llama.TYPES:
            found = llama.config(json)
        case "gpt2":
            found = gpt2.config(json)
        case "bart":
            found = bart.config(json)
        case _:
            raise ConfigError(f"model_type={kind!r} is no decoder; wanted {', '.join(llama.TYPES)}, gpt2 or bart")
    return dataclasses.replace(_bounded(at, found), weights=was.weights, padding=-found.vocab % ROWS)


def _bounded(at: Path, found: DecoderConfig) -> DecoderConfig:
    """The decoder's sizes with start and end tokens that the model has.

    Where config.json gives none of its vocabulary (a Chinese GPT-2 of 21,128 tokens that is silent about them has
    GPT-2's 50256), they are the tokenizer's.
    """
    known = range(found.vocab)
    if found.start_token in known and found.end_token in known:
        return found
    try:
        start, end = bounds(at)
    except FileNotFoundError as e:
        start, end, why = None, None, str(e)
    else:
        why = "the tokenizer's files name no eos_token or sep_token of the vocabulary"
    end = found.end_token if found.end_token in known else end
    if end not in known:
        raise ConfigError(
            f"no token ends a caption: eos_token_id={found.end_token} (GPT-2's, where config.json is silent) is outside"
            f" the vocabulary of {found.vocab}, and {why}; write the id of the token that ends a text into config.json"
            " as eos_token_id"
        )
    if found.start_token in known:
        start = found.start_token
    return dataclasses.replace(found, start_token=start if start in known else end, end_token=end)


def files(part: AudioConfig | VideoConfig | DecoderConfig | None) -> Any:
    """The module that knows the Hugging Face files of a family; None: the family is our own, it has none."""
    match part:
        case None | MelEncoderConfig() | FrameEncoderConfig() | FeatureFilesConfig():
            return None
        case Wav2Vec2Config() | WhisperConfig():
            return media.audio_family(part)
        case VitConfig() | VideoMaeConfig():
            return media.video_family(part)
        case _:
            return lm.family(part)


def backbones(cfg: Config) -> dict[str, Any]:
    """The configurations of the parts that are of published families, by their paths in the captioner's tree."""
    parts = {
        "encoders.audio.backbone": cfg.model.audio,
        "encoders.video": cfg.model.video,
        "decoder": cfg.model.decoder,
    }
    return {path: part for path, part in parts.items() if files(part)}


def initial(cfg: Config, like: captioner.Params) -> captioner.Params:
    """The weights that training begins with: pretrained where the configuration names files, random elsewhere.

    Args:
      like: their shapes, types and shardings (`jax.ShapeDtypeStruct`s); None for weights that are not wanted.
    Raises:
      FileNotFoundError, ValueError: see `weights.read`.
    """
    wanted = {param.dotted(at) for at, _ in jax.tree_util.tree_leaves_with_path(like)}
    read = {
        path: weights.read(locate(part.weights), operator.attrgetter(path)(like), files(part).names(part))
        for path, part in backbones(cfg).items()
        if part.weights and jax.tree.leaves(operator.attrgetter(path)(like))
    }

    def is_random(path: str) -> bool:
        return path in wanted and not any(path.startswith(f"{part}.") for part in read)

    declared, shapes = (param.split(tree, is_random)[0] for tree in (captioner.declare(cfg), like))

    def make(key: jax.Array) -> Tree:
        return jax.tree.map(lambda w, s: w.astype(s.dtype), param.init(declared, key), shapes)

    # named as ever: a weight's random values depend on the seed and its own path
    key = jax.random.fold_in(jax.random.key(cfg.seed), 0)
    params = jax.jit(make, out_shardings=jax.tree.map(lambda s: s.sharding, shapes))(key)
    for path, tree in read.items():
        params = replaced(params, path, tree)
    return params


def replaced(tree: Tree, path: str, part: Tree) -> Tree:
    """The tree with another part at a dotted path."""
    name, _, rest = path.partition(".")
    return tree.replace(**{name: replaced(getattr(tree, name), rest, part) if rest else part})


def tokenizer(cfg: Config) -> "Tokenizer":
    """The tokenizer of the pretrained decoder.

    Tokens that were added to it without rows in the decoder's table (a "<pad>" of Llama 2's, say) are never drawn, and
    text that spells them is text; a warning names them.

    Raises:
      FileNotFoundError: it has none.
      ConfigError: one with more tokens of its own than the decoder, or to which the token that ends a caption is text.
    """
    at, decoder = locate(cfg.model.decoder.weights), cfg.model.decoder
    found = pretrained_tokenizer(at)
    added = found.get_added_tokens_decoder()
    beyond = [i for i in found.get_vocab(with_added_tokens=True).values() if i >= decoder.vocab]
    if any(i not in added for i in beyond):
        tokens = found.get_vocab_size(with_added_tokens=True)
        raise ConfigError(f"{at}: the tokenizer has {tokens} tokens, the decoder's vocabulary is {decoder.vocab}")
    if beyond:
        names = [added[i].content for i in sorted(beyond)]
        found = with_special(found, names)
        told = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        warnings.warn(
            f"{at}: the decoder's table of {decoder.vocab} tokens has no rows for the added {told}: they are taken for "
            "padding, never drawn and never read",
            stacklevel=2,
        )
    end, token = found.id_to_token(decoder.end_token), added.get(decoder.end_token)
    if end is not None and not (token and token.special):
        raise ConfigError(
            f"{at}: the token that ends a caption, {decoder.end_token}, is {end!r} to the tokenizer, which is text;"
            " wanted a special token: correct eos_token_id in config.json, or mark it as special in tokenizer.json"
        )
    return found
