"""The gradient of the caption loss is torch's, for every weight of every family of language models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emojax.config import DecoderConfig, Sampling
from emojax.decoder import lm
from emojax.decoder.captioner import shifted
from emojax.hub import weights
from emojax.training.tokens import Read, Rule, surprise, token_loss
from emojax.types import Array, Prefix
from support import decoder_models

torch = pytest.importorskip("torch", reason="parity with torch")


@functools.partial(jax.jit, static_argnames=("cfg", "remat"))
def gradient(
    p: lm.Lm, prefix: Prefix, ids: Array, mask: Array, cfg: DecoderConfig, remat: bool
) -> tuple[Array, lm.Lm, Array]:
    """Of the mean negative log-probability of the tokens: the value, and its gradient by weights and prefix."""

    def loss(p: lm.Lm, embed: Array) -> Array:
        pre = prefix.replace(embed=embed)
        hidden = lm.suffix(p, lm.prefill(p, pre, cfg, remat), pre.mask, shifted(ids, cfg.start_token), cfg, remat)
        read, rule = Read(hidden, lm.head(p)), Rule(cfg.vocab, Sampling())
        return token_loss(read, ids, mask, rule, surprise, ())[0] / mask.sum().astype(jnp.float32)

    value, grads = jax.value_and_grad(loss, (0, 1))(p, prefix.embed)
    return value, *grads


@pytest.mark.parametrize(
    ("name", "remat"),
    [("qwen2-window", True), ("qwen3", False), ("llama3", True), ("gpt2", False), ("bart-scaled", True)],
)
def test_gradient_of_the_caption_loss(name: str, remat: bool, tmp_path):
    from safetensors.numpy import load_file

    model = decoder_models.make(name)
    model.save_pretrained(tmp_path)
    cfg = decoder_models.config(tmp_path)
    prefix, ids = decoder_models.prefix(cfg.width), decoder_models.captions(model)
    mask = np.arange(ids.shape[-1]) < np.array([[7, 4], [2, 6], [5, 7]])[..., None]
    value, grads, by_prefix = gradient(
        decoder_models.load(tmp_path, cfg), jax.tree.map(jnp.asarray, prefix), ids, mask, cfg, remat
    )

    total, read_ids = 0, np.asarray(shifted(ids, cfg.start_token))
    embed = torch.tensor(prefix.embed, requires_grad=True)
    for row in range(len(ids)):
        logits = model(**decoder_models.inputs(model, embed[row], prefix.mask[row], read_ids[row])).logits
        wanted = torch.tensor(ids[row], dtype=torch.long)
        logp = logits[:, -ids.shape[-1] :].log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
        total = total - (logp * torch.tensor(mask[row])).sum() / mask.sum()
    total.backward()
    np.testing.assert_allclose(value, total.item(), rtol=1e-5)
    np.testing.assert_allclose(by_prefix, embed.grad, atol=1e-4 * np.abs(embed.grad.numpy()).max(), rtol=0)
    assert not np.asarray(by_prefix)[~prefix.mask].any(), "padding has a gradient"

    weights.write(tmp_path / "gradient.safetensors", grads, lm.family(cfg).names(cfg))
    ours = load_file(tmp_path / "gradient.safetensors")
    wanted = {at: p.grad.numpy() for at, p in model.named_parameters()}
    assert ours.keys() == wanted.keys()
    largest = max(np.abs(g).max() for g in wanted.values())
    for at, g in wanted.items():
        # the keys' bias moves all scores of a row alike: where nothing is rotated its gradient is zero but for rounding
        scale = max(np.abs(g).max(), 1e-3 * largest)
        np.testing.assert_allclose(ours[at], g, atol=1e-4 * scale, rtol=0, err_msg=at)
