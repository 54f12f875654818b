"""The shapes of tables whose tokenizers are not at hand, for a plan of memory and time."""

from typing import Any

import jax
import jax.numpy as jnp

from emojax.config import LlamaConfig, MpnetConfig, TextConfig
from emojax.text.bpe import Rules
from emojax.text.byte_level import ByteLevel
from emojax.text.bytes import TokenBytes
from emojax.text.charsmap import Charsmap
from emojax.text.compose import Composition
from emojax.text.convert import BpeTables, Tables, UnigramTables, WordpieceTables
from emojax.text.normalize import Normalization
from emojax.text.pieces import Pieces
from emojax.text.policy import Policy
from emojax.text.trie import Trie

# A byte-level piece has about six bytes. As measured: all-MiniLM-L6-v2 has 30,522 pieces in 64,356 slots, a made-up
# vocabulary of many scripts 250,000 in 946,981; nmt_nfkc turns U+FDFA, of three bytes, into eighteen characters.
_BYTES_PER_TOKEN = 6
# Published vocabularies that are not byte-level, by their sizes: Llama 2, TinyLlama and the first Mistral, its third;
# Chinese BERT's, of Chinese GPT-2s and the first Chinese BART, and that of its second.
_SENTENCEPIECE, _WORDPIECE = (32_000, 32_768), (21_128, 51_271)
_WORDPIECE_SLOTS, _UNIGRAM_SLOTS = 2, 4  # of the trie, per piece
_PAGES, _KIND_PAGES = 200, 134  # of 256 code points that differ from each other's
_WORDPIECE_ROWS, _UNIGRAM_ROWS = 3_000, 15_000  # kinds of code points
_KEY_SLOTS = 1_300
_ENTRIES, _ENTRY_PAGES, _PAIRS = 14_375, 114, (795, 111)  # of Unicode's normal form C
_WORDPIECE_FORM, _UNIGRAM_FORM = 3, 18  # characters of the longest normal form
_LONGEST_PIECE = 16


def abstract(policy_vocabulary: int, reward: TextConfig, *, max_bytes: int, max_tokens: int) -> Tables:
    """What `build` would give for typical tokenizers of these sizes, as jax.ShapeDtypeStruct, for tracing `retokenize`.

    The lengths of the tables are estimates (a real vocabulary's may be half or twice as long); those of the program's
    inputs and outputs are exact. Ids that only the files tell are made up: they are numbers in a program, not shapes.

    Args:
      policy_vocabulary: tokens; their number tells SentencePiece and WordPiece tokenizers that are widespread, any
        other is taken to be of byte-level BPE.
      reward: the sentence encoder. XLM-R and CamemBERT are taken to have a SentencePiece tokenizer, RoBERTa and Qwen3
        byte-level BPEs, the others BERT's (multilingual MiniLM, a BERT with XLM-R's tokenizer, is the one that this
        takes for what it is not).
      max_bytes, max_tokens: as `build` takes them.
    """

    def i32(*shape: int) -> Any:  # a shape stands for an array
        return jax.ShapeDtypeStruct(shape, jnp.int32)

    def small(dtype: jnp.dtype | type, *shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    def trie(slots: int, depth: int) -> Trie:
        return Trie(i32(slots), i32(slots), i32(slots), i32(2), depth)

    policy: Policy = TokenBytes(i32(policy_vocabulary + 1), small(jnp.uint8, _BYTES_PER_TOKEN * policy_vocabulary))
    if (sentencepiece := policy_vocabulary in _SENTENCEPIECE) or policy_vocabulary in _WORDPIECE:
        rows = 2 * policy_vocabulary
        real, total = small(jnp.bool_, policy_vocabulary), small(jnp.uint8, _BYTES_PER_TOKEN * rows)
        policy = Pieces(i32(rows + 1), total, real, small(jnp.bool_, rows) if sentencepiece else None, sentencepiece)
    page, row = i32(0x110000 // 256), i32(_PAGES, 256)
    qwen = isinstance(reward, LlamaConfig)
    kind = "none" if isinstance(reward, MpnetConfig | LlamaConfig) else reward.kind
    if qwen or kind == "roberta":
        kinds = small(jnp.uint8, _KIND_PAGES, 256)
        byte_level = ByteLevel(page, kinds, prefix=False, pattern="qwen" if qwen else "gpt2")
        slots, ranks = 1 << (2 * reward.vocab).bit_length(), i32(reward.vocab + 1)
        rules = Rules(i32(256), ranks, i32(slots), i32(slots), i32(slots), ranks, ranks)
        entry, changes = i32(_ENTRIES), small(jnp.bool_, _ENTRIES)
        rows, pairs = i32(_ENTRY_PAGES, 256), i32(*_PAIRS)
        composition = Composition(
            page, rows, i32(_ENTRIES, 4), entry, entry, entry, entry, pairs, entry, changes, growth=1.5
        )
        return BpeTables(
            policy, composition if qwen else None, byte_level, rules, max_bytes=max_bytes, max_tokens=max_tokens
        )
    if kind not in ("xlm-roberta", "camembert"):
        rows = _WORDPIECE_ROWS
        return WordpieceTables(
            policy,
            Normalization(page, row, i32(rows, _WORDPIECE_FORM), i32(rows), None, None, letter=100, growth=1.0),
            trie(_WORDPIECE_SLOTS * reward.vocab, _LONGEST_PIECE),
            unknown=100,
            longest_word=100,
            max_bytes=max_bytes,
            max_tokens=max_tokens,
        )
    rows = _UNIGRAM_ROWS
    charsmap = Charsmap(
        page,
        row,
        i32(rows),
        small(jnp.bool_, rows),
        small(jnp.uint8, rows),
        i32(rows),
        trie(_KEY_SLOTS, 2),
        i32(rows, _UNIGRAM_FORM),
        i32(rows),
        letter=4,
        growth=_UNIGRAM_FORM / 3,
    )
    return UnigramTables(
        policy,
        charsmap,
        trie(_UNIGRAM_SLOTS * reward.vocab, _LONGEST_PIECE),
        i32(reward.vocab + 1, 3),
        unknown=3,
        steps=(),
        split=True,
        max_bytes=max_bytes,
        max_tokens=max_tokens,
    )
