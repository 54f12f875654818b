"""A name table is read both ways: what is saved is what was read, and a file that does not fit is refused whole."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from safetensors.numpy import load_file, save_file

from emojax.config import BertConfig, Config, LlamaConfig, Mesh, Model
from emojax.decoder import llama
from emojax.encoders import bert
from emojax.hub import weights
from emojax.hub.locate import shards
from emojax.hub.weights import Names
from emojax.parallel import sharding
from emojax.param import Param, normal
from emojax.rewards import sentence
from emojax.training.program import abstract_weights
from emojax.types import Weight

CFG = BertConfig(vocab=11, width=6, layers=3, heads=2, ff=7, positions=5)
INDEX = "model.safetensors.index.json"
NAMES = bert.names(CFG)


@pytest.fixture
def saved(tmp_path):
    """A file of a tiny BERT in its own names, and the tree that was saved."""
    r = np.random.default_rng(0)
    tree = jax.tree.map(lambda p: r.normal(size=p.shape).astype(np.float32), bert.declare(CFG))
    weights.write(tmp_path / "model.safetensors", tree, NAMES)
    return tmp_path / "model.safetensors", tree


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: x.shape == y.shape and (np.asarray(x) == np.asarray(y)).all(), a, b))


def test_read_of_write_is_the_identity(saved):
    path, tree = saved
    assert same(weights.read(path, bert.declare(CFG), NAMES), tree)
    assert same(weights.read(path.parent, bert.declare(CFG), NAMES), tree)
    third = load_file(path)["encoder.layer.2.intermediate.dense.weight"]
    assert (third == np.asarray(tree.layers.mlp.up.w[2]).T).all()


def test_write_of_read_gives_the_published_tensors(tmp_path):
    try:
        root = sentence.directory("all-MiniLM-L6-v2")
    except FileNotFoundError as absent:
        pytest.skip(str(absent))
    cfg = bert.config(json.loads((root / "config.json").read_text()))
    weights.write(tmp_path / "out.safetensors", weights.read(root, bert.declare(cfg), NAMES), NAMES)
    theirs, ours = load_file(root / "model.safetensors"), load_file(tmp_path / "out.safetensors")
    heads = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    assert set(theirs) - heads == set(ours)
    assert all((theirs[name] == ours[name]).all() for name in ours)


def test_a_size_in_the_pattern_makes_the_way_back_exact(tmp_path):
    @struct.dataclass
    class Stem:
        w: Weight
        scale: Weight

    names = Names((("conv.weight", "w", "o i w=3 -> (w i) o"), ("scale", "scale", "->")))
    declared = Stem(Param((6, 5), (None, None), normal(1)), Param((), (), normal(1)))
    tree = Stem(np.arange(30, dtype=np.float32).reshape(6, 5), np.array(2, np.float32))
    weights.write(tmp_path / "a.safetensors", tree, names)
    theirs = load_file(tmp_path / "a.safetensors")
    assert theirs["conv.weight"].shape == (5, 2, 3)
    assert theirs["scale"].shape == ()
    assert theirs["conv.weight"][4, 1, 2] == tree.w[2 * 2 + 1, 4]
    assert same(weights.read(tmp_path / "a.safetensors", declared, names), tree)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_read_as_float32(saved, kind):
    path, tree = saved
    halves = {name: x.astype(jnp.dtype(kind)) for name, x in load_file(path).items()}
    save_file(halves, path)
    read = weights.read(path, bert.declare(CFG), NAMES)
    assert read.tokens.dtype == np.float32
    assert same(read, jax.tree.map(lambda x: x.astype(jnp.dtype(kind)).astype(np.float32), tree))


def test_every_fault_is_listed_with_what_was_expected_and_got(saved):
    path, _ = saved
    tensors = load_file(path)
    del tensors["encoder.layer.1.output.dense.bias"]
    tensors["embeddings.LayerNorm.weight"] = np.zeros(9, np.float32)
    tensors["encoder.layer.0.attention.self.key.weight"] = np.zeros((6, 6), np.int8)
    tensors["encoder.layer.3.output.dense.bias"] = np.zeros(6, np.float32)  # one layer more than the model has
    save_file(tensors, path)
    with pytest.raises(ValueError, match="4 weights do not fit") as error:
        weights.read(path, bert.declare(CFG), NAMES)
    lines = sorted(line.strip() for line in str(error.value).splitlines()[1:])
    assert len(lines) == 4
    for line, parts in zip(
        lines,
        (
            ("misshapen", "embeddings.LayerNorm.weight", "floats [6]", "F32 [9]"),
            ("misshapen", "encoder.layer.0.attention.self.key.weight", "floats [6, 6]", "I8 [6, 6]"),
            ("missing", "encoder.layer.1.output.dense.bias", "[6]"),
            ("unused", "encoder.layer.3.output.dense.bias", "[6]"),
        ),
        strict=True,
    ):
        assert all(part in line for part in parts), line


def test_known_harmless_names_and_prefix(saved):
    path, tree = saved
    tensors = {f"bert.{name}": x for name, x in load_file(path).items()}
    tensors |= {"bert.embeddings.position_ids": np.arange(5)[None], "cls.predictions.bias": np.zeros(11, np.float32)}
    save_file(tensors, path)
    assert same(weights.read(path, bert.declare(CFG), NAMES), tree)


def test_heads_of_any_name_beside_a_backbone_are_left_out_and_named(saved, caplog):
    """Where the backbone's names carry its prefix; what stands under the prefix, or beside a known weight, is none."""
    path, tree = saved
    bare = load_file(path)
    tensors = {f"bert.{name}": x for name, x in bare.items()}
    heads = {"age.dense.weight": np.ones((3, 6), np.float32), "gender.bias": np.ones(3, np.float32)}
    heads |= {"encoder.weight": np.ones(3, np.float32)}  # called as a part of the backbone is (`WavLMForXVector`)
    save_file(tensors | heads, path)
    assert same(weights.read(path, bert.declare(CFG), NAMES), tree)
    assert "heads beside the model are left out: age.*, encoder.*, gender.*" in caplog.text
    for strange in (bare | heads, tensors | {"bert.age.weight": np.ones(3, np.float32)}):
        save_file(strange, path)
        with pytest.raises(ValueError, match=r"unused     (bert\.)?age"):
            weights.read(path, bert.declare(CFG), NAMES)


def test_a_bias_beside_a_known_weight_is_no_head(tmp_path):
    cfg = LlamaConfig(vocab=51, width=24, layers=1, heads=4, kv_heads=2, head_width=6, ff=32, tie=True)
    tree = jax.tree.map(lambda p: np.ones(p.shape, np.float32), llama.declare(cfg))
    weights.write(tmp_path, tree, llama.names(cfg))
    tensors = load_file(tmp_path / "model.safetensors") | {"lm_head.bias": np.ones(51, np.float32)}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unused     lm_head.bias"):
        weights.read(tmp_path, llama.declare(cfg), llama.names(cfg))


def test_of_many_faults_the_first_are_listed(saved):
    path, _ = saved
    save_file({"nothing": np.ones(3, np.float32)}, path)
    with pytest.raises(ValueError, match=r"\d\d weights do not fit") as error:
        weights.read(path, bert.declare(CFG), NAMES)
    assert len(str(error.value).splitlines()) == 22
    assert str(error.value).splitlines()[-1].startswith("  and ")


@pytest.mark.parametrize(
    "table", [None, [], {}, {"a": 3}, {"a": "../model-0.safetensors"}, {"a": "/etc/passwd"}, {"a": ""}]
)
def test_an_index_of_another_shape_is_named(saved, table):
    path, _ = saved
    path.with_name("model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    for read in (lambda: weights.read(path.parent, bert.declare(CFG), NAMES), lambda: shards(path.parent / INDEX)):
        with pytest.raises(ValueError, match=r'index.json: wanted "weight_map", an object of file names'):
            read()


def test_numbers_beyond_float32_are_refused(saved):
    path, _ = saved
    tensors = {name: x.astype(np.float64) for name, x in load_file(path).items()}
    tensors["embeddings.LayerNorm.bias"][0] = 1e300
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"embeddings.LayerNorm.bias holds numbers beyond float32"):
        weights.read(path, bert.declare(CFG), NAMES)


def test_shards_are_read_by_their_index(saved):
    path, tree = saved
    tensors = load_file(path)
    path.unlink()
    halves = [dict(list(tensors.items())[i::2]) for i in (0, 1)]
    for i, half in enumerate(halves):
        save_file(half, path.with_name(f"model-{i}.safetensors"))
    index = {"weight_map": {name: f"model-{i}.safetensors" for i, half in enumerate(halves) for name in half}}
    path.with_name("model.safetensors.index.json").write_text(json.dumps(index))
    assert same(weights.read(path.parent, bert.declare(CFG), NAMES), tree)


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors"):
        weights.read(tmp_path, bert.declare(CFG), NAMES)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        with pytest.raises(FileNotFoundError, match=r"pickle.*safetensors.*save_pretrained"):
            weights.read(path, bert.declare(CFG), NAMES)


def test_a_declared_weight_without_a_name_is_an_error(saved):
    short = dataclasses.replace(NAMES, table=NAMES.table[1:])
    with pytest.raises(ValueError, match="no line for tokens"):
        weights.read(saved[0], bert.declare(CFG), short)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_weights_go_straight_to_their_place_on_a_mesh(tmp_path, kind):
    """Sharded over eight devices, in the type asked for, zeros in the padding of a table; and back as they were."""
    cfg = LlamaConfig(vocab=51, padding=13, width=24, layers=3, heads=4, kv_heads=2, head_width=6, ff=32, tie=False)
    whole = Config(name="here", model=Model(audio=None, video=None, decoder=cfg), mesh=Mesh(fsdp=2, model=2))
    mesh = sharding.make_mesh(whole, jax.devices()[:8])
    r = np.random.default_rng(0)
    tree = jax.tree.map(lambda p: r.normal(size=p.shape).astype(kind), llama.declare(cfg))
    tree.embed[51:], tree.head[51:] = 0, 0
    weights.write(tmp_path, tree, llama.names(cfg))
    assert load_file(tmp_path / "model.safetensors")["lm_head.weight"].shape == (51, 24)
    like = abstract_weights(llama.declare(cfg), mesh)
    like = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, jnp.dtype(kind), sharding=s.sharding), like)
    read = weights.read(tmp_path, like, llama.names(cfg))
    for wanted, got in zip(jax.tree.leaves(like), jax.tree.leaves(read), strict=True):
        assert got.sharding.is_equivalent_to(wanted.sharding, len(wanted.shape))
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert same(read, tree)
    assert {len(x.sharding.device_set) for x in jax.tree.leaves(read)} == {8}
    weights.write(tmp_path / "again.safetensors", read, llama.names(cfg))
    first, second = load_file(tmp_path / "model.safetensors"), load_file(tmp_path / "again.safetensors")
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() and first[name].dtype == second[name].dtype for name in first)


def test_a_directory_is_written_in_several_files_where_one_would_be_too_large(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHARD", 2_000)
    (tmp_path / "out").mkdir()
    weights.write(tmp_path / "out", saved[1], NAMES)
    files = sorted((tmp_path / "out").glob("model-*-of-*.safetensors"))
    assert len(files) > 1
    assert same(weights.read(tmp_path / "out", bert.declare(CFG), NAMES), saved[1])
    files[1].unlink()
    with pytest.raises(FileNotFoundError, match=f"files that are not there: {files[1].name}"):
        weights.read(tmp_path / "out", bert.declare(CFG), NAMES)


def test_a_file_that_is_cut_off_is_told_and_nothing_is_read(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"not a whole safetensors file .* Get it again"):
        weights.read(path, bert.declare(CFG), NAMES)


def test_older_spellings_and_prefixes_are_the_same_names(saved):
    path, tree = saved
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def spelled(name: str) -> str:
        return "bert." + next((name.removesuffix(new) + end for new, end in old.items() if name.endswith(new)), name)

    save_file({spelled(name): x for name, x in load_file(path).items()}, path)
    assert any(name.endswith("gamma") for name in load_file(path))
    assert same(weights.read(path, bert.declare(CFG), NAMES), tree)
