"""Adapters are those of the library peft: the same loss, the same gradients, the same files."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax import param
from emojax.config import Config, Lora, Model, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import shifted
from emojax.hub import weights
from emojax.training import adapters, peft_files
from emojax.training.tokens import Read, Rule, surprise, token_loss
from emojax.types import Array, Tree
from support import decoder_models

torch = pytest.importorskip("torch", reason="parity with torch")
peft = pytest.importorskip("peft", reason="parity with peft")

RANK, ALPHA = 3, 5.0
MAPS = {  # our targets, and peft's
    "qwen2": (("attention.q", "attention.v", "mlp.down"), ["q_proj", "v_proj", "down_proj"]),
    "llama3": (("attention.*", "mlp.*"), ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
    "gpt2": (("qkv", "mlp.down"), ["c_attn", "mlp.c_proj"]),
}


class Case(NamedTuple):
    theirs: Any  # the PeftModel
    base: Path
    cfg: Config
    own: Tree  # our adapters, read from the files that peft wrote
    bases: Tree

    @property
    def names(self) -> weights.Names:
        return lm.family(self.cfg.model.decoder).names(self.cfg.model.decoder)


QUICK = [("gpt2", False), ("qwen2", True)]
OTHERS = [(name, dora) for name in MAPS for dora in (False, True) if (name, dora) not in QUICK]
CASES = [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """No adapter is zero, no magnitude the length that it began with."""
    name, dora = request.param
    at, (ours, theirs) = tmp_path_factory.mktemp("case"), MAPS[name]
    model = decoder_models.make(name)
    model.save_pretrained(at / "base")
    settings = {"r": RANK, "lora_alpha": ALPHA, "target_modules": theirs, "use_dora": dora, "task_type": "CAUSAL_LM"}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings, fan_in_fan_out=name == "gpt2"))
    g = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter, x in adapted.named_parameters():
            if "lora_B" in parameter:
                x.copy_(0.3 * torch.randn(x.shape, generator=g))
            elif "magnitude" in parameter:
                x.mul_(1 + 0.3 * torch.rand(x.shape, generator=g))
    adapted.save_pretrained(at / "theirs")
    decoder = decoder_models.config(at / "base")
    targets = tuple(f"decoder.layers.{each}" for each in ours)
    lora = Lora(targets, RANK, ALPHA, dora)
    cfg = Config("parity", model=Model(audio=None, video=None, decoder=decoder), lora=lora)
    declared = adapters.declare(cfg).decoder
    bases = jax.tree.map(jnp.asarray, adapters.beside(declared, decoder_models.load(at / "base", decoder)))
    own = peft_files.read(at / "theirs", declared, lm.family(decoder).names(decoder))
    return Case(adapted.eval(), at / "base", cfg, own, bases)


def logits(model: Any, ids: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.tensor(ids, dtype=torch.long)).logits.numpy()


def test_loss_and_gradients_of_the_adapters(case: Case, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    cfg = case.cfg.model.decoder
    prefix = jax.tree.map(jnp.asarray, decoder_models.prefix(cfg.width))
    ids = decoder_models.captions(case.theirs)

    def loss(own: Tree) -> Array:
        p = param.merge(own, case.bases)
        hidden = lm.suffix(p, lm.prefill(p, prefix, cfg), prefix.mask, shifted(ids, cfg.start_token), cfg)
        read, rule = Read(hidden, lm.head(p)), Rule(cfg.vocab, Sampling())
        return token_loss(read, ids, jnp.ones(ids.shape, bool), rule, surprise, ())[0] / ids.size

    value, grads = jax.jit(jax.value_and_grad(loss))(case.own)

    total, read_ids = 0, np.asarray(shifted(ids, cfg.start_token))
    for row in range(len(ids)):
        inputs = decoder_models.inputs(case.theirs, prefix.embed[row], np.array(prefix.mask[row]), read_ids[row])
        scored = case.theirs(**inputs).logits[:, -ids.shape[-1] :].log_softmax(-1)
        total = total - scored.gather(-1, torch.tensor(ids[row], dtype=torch.long)[..., None]).sum() / ids.size
    case.theirs.zero_grad()
    total.backward()
    np.testing.assert_allclose(value, total.item(), rtol=1e-5)

    weights.write(tmp_path / "gradient.safetensors", grads, peft_files.peft_names(case.names, grads))
    ours = load_file(tmp_path / "gradient.safetensors")
    wanted = {
        at.replace("vector.default.weight", "vector").replace(".default", ""): x.grad.numpy()
        for at, x in case.theirs.named_parameters()
        if x.requires_grad
    }
    assert ours.keys() == wanted.keys()
    for at, g in wanted.items():
        np.testing.assert_allclose(ours[at], g, atol=1e-4 * np.abs(g).max(), rtol=0, err_msg=at)


def test_peft_reads_what_we_write(case: Case, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    part = param.merge(case.own, case.bases)
    cfg, ids = case.cfg.model.decoder, np.arange(3, 60).reshape(3, 19)
    peft_files.write(tmp_path, part, cfg, case.names, case.cfg.lora)
    again = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(case.base), tmp_path).eval()
    wanted = logits(case.theirs, ids)
    np.testing.assert_array_equal(logits(again, ids), wanted)
    with again.disable_adapter():
        assert np.abs(logits(again, ids) - wanted).max() > 0.1, "the adapters hardly change anything"

    merged = tmp_path / "merged"
    merged.mkdir()
    weights.write(merged, adapters.merged(part), case.names)
    (merged / "config.json").write_text(json.dumps(lm.family(cfg).to_json(cfg)))
    model = AutoModelForCausalLM.from_pretrained(merged).eval()
    np.testing.assert_allclose(logits(model, ids), wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_module_is_named_by_its_shortest_own_end(case: Case, tmp_path: Path) -> None:
    own = param.merge(case.own, case.bases)
    peft_files.write(tmp_path, own, case.cfg.model.decoder, case.names, case.cfg.lora)
    settings = json.loads((tmp_path / peft_files.CONFIG).read_text())
    name = next(name for name, (ours, _) in MAPS.items() if f"decoder.layers.{ours[0]}" == case.cfg.lora.targets[0])
    assert settings["target_modules"] == sorted(MAPS[name][1])
