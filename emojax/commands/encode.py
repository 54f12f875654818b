"""encode: features of clips, made once."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from emojax.commands.train import Set
from emojax.config import ConfigError, Mesh


def encode(
    out: Path,
    config: str | None = None,
    set_: Set = (),
    model: str | None = None,
    manifest: Path | None = None,
    batch_size: int = 16,
    file: int = 128,
    stored: Literal["float32", "bfloat16", "float16"] = "float32",
    retry: bool = False,
    strict: bool = False,
) -> None:
    """Run the frozen encoders once over every clip of a manifest and keep what they give, for `data.features`.

    Killed and run again, it goes on: what is written stays and is not made again.

    Args:
        out: directory to write, or to go on with.
        config: preset or file whose encoders, with the weights that training would begin with.
        model: instead: run directory of a trained captioner, or an exported one, whose encoders.
        manifest: JSONL manifest, all splits of it; the configuration's own without it.
        batch_size: clips encoded at once.
        file: clips a file, a multiple of the batch size.
        stored: type of the numbers in the files; float32 loses nothing, bfloat16 nothing where precision=bfloat16.
        retry: try again the clips that are recorded as broken.
        strict: stop at the first broken file instead of recording it.
    """
    import jax

    from emojax import captioning, param
    from emojax.api.progress import bars
    from emojax.captioning import encode as encode_clips
    from emojax.config import presets
    from emojax.corpus import source
    from emojax.data.clips import read_manifest
    from emojax.decoder import captioner, pretrained
    from emojax.parallel import compile_cache, sharding
    from emojax.training.program import abstract_weights
    from emojax.training.run_files import reads, require_apart

    if (config is None) == (model is None) or (model is not None and set_):
        raise ConfigError("give either --config, with any --set, or --model")
    where = {"--manifest": manifest, "--model": model if Path(model or "").exists() else None}
    require_apart(out, where, read_manifest(manifest) if manifest else ())
    compile_cache.use()
    if model is not None:
        cfg, params, _, mesh = captioning.restore(model, devices=jax.local_devices()[:1])
        encoders = params.encoders
    else:
        cfg = presets.load(config or "", set_)
        nothing = dataclasses.replace(cfg.model.decoder, weights="")  # its files are not needed
        cfg = dataclasses.replace(cfg, mesh=Mesh(), model=dataclasses.replace(cfg.model, decoder=nothing))
        cfg = pretrained.resolve(cfg, fetch=True)
        mesh = sharding.make_mesh(cfg, jax.local_devices()[:1])
        like = abstract_weights(captioner.declare(cfg), mesh)
        encoders = pretrained.initial(cfg, param.split(like, lambda path: path.startswith("encoders."))[0]).encoders
    data = dataclasses.replace(cfg.data, strict=strict, manifest=str(manifest or cfg.data.manifest))
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(data, features=""))
    with bars() as track:
        bar = track("features")
        clips = read_manifest(source.manifest(cfg, lambda n, m: bar(n, m, {})))
        require_apart(out, reads(cfg), clips)
        how = encode_clips.Encoding(min(batch_size, file), file, stored, retry)
        done = encode_clips.encode(cfg, encoders, clips, out, how, mesh=mesh, progress=lambda n, m: bar(n, m, {}))
    print(f"{done['clips']} clips, {done['broken']} broken files, {out}", file=sys.stderr)
