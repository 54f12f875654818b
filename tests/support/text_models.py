"""Random torch encoders of texts, of odd sizes. Imported where torch and transformers are known to be there."""

from typing import Any

import jax
import numpy as np
import torch
import transformers

torch.set_num_threads(1)

MODELS = {  # odd sizes; class of the model: what its configuration has
    "bert": ("Bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    "roberta": ("Roberta", {"hidden_act": "relu", "pad_token_id": 4}),
    "xlm-roberta": ("XLMRoberta", {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "num_attention_heads": 1}),
    "camembert": ("Camembert", {"type_vocab_size": 1, "num_hidden_layers": 1, "hidden_act": "silu"}),
    "distilbert": ("DistilBert", {"activation": "relu", "n_layers": 2}),
    "ernie": ("Ernie", {"use_task_id": True, "type_vocab_size": 4, "layer_norm_eps": 1e-5}),
    "ernie-plain": ("Ernie", {"task_type_vocab_size": 5, "hidden_act": "relu"}),
    "mpnet": ("MPNet", {"layer_norm_eps": 1e-5}),
    "mpnet-long": ("MPNet", {"max_position_embeddings": 200, "hidden_act": "quick_gelu", "num_attention_heads": 7}),
}
SIZES = {
    "vocab_size": 43, "hidden_size": 21, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 37,
    "max_position_embeddings": 41,
}  # fmt: skip


def random_model(name: str, **fields) -> Any:
    """A torch model whose every weight matters: no bias is zero, no norm is one."""
    kind, own = MODELS[name]
    sizes = SIZES | own | fields
    if kind == "DistilBert":
        sizes = {"hidden_dim": sizes["intermediate_size"]} | sizes
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.25)
    return model


def same(a, b) -> bool:
    """Whether two trees hold equal arrays."""
    return jax.tree.all(jax.tree.map(lambda x, y: x.shape == y.shape and (np.asarray(x) == np.asarray(y)).all(), a, b))
