"""What a program needs, found by compiling it without running it: on this machine, or for a TPU pod nobody here has."""

import hashlib
import os
import re
import time
from typing import Any

from emojax.config import Config, ConfigError

BYTES = 1 << 20
CAPTIONED = 16  # clips at once in the caption program


def plan(cfg: Config, program: str, topology: str | None = None) -> dict[str, Any]:
    """Lowers and compiles `program` ("sft", "grpo", "caption") for this machine's devices or for a TPU topology.

    Returns:
      program, config, topology, executables (compilations that the program took), host_callbacks, infeeds, outfeeds
      (instructions of that kind in the compiled program), peak_bytes_per_device, flops (of one step, counted by hand),
      parameters (whole, by part, and those that the program trains), compile_seconds, fingerprint (SHA-256 of the
      lowered program), assumed (files that are not at hand, for which the configuration's sizes stood in).
    Raises:
      ConfigError: the topology is not known, or the mesh does not divide the configuration.
    """
    if topology is not None:  # compiling for a TPU needs none, and must not look for one
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    import jax

    from emojax import captioning, flops, pretrained, sharding
    from emojax.decoder import captioner
    from emojax.nn import param
    from emojax.training.fit import stage_mesh
    from emojax.training.program import grpo_program, sft_program

    cfg = pretrained.resolve(cfg, fetch=False)
    devices = None if topology is None else _devices(topology)
    mesh = stage_mesh(cfg, program, devices) if program in ("sft", "grpo") else sharding.make_mesh(cfg, devices)
    (model, static), assumed = _reward(cfg)
    seconds = cfg.data.audio_seconds[-1]
    trained = 0
    if program in ("sft", "grpo"):
        planned = sft_program(cfg, mesh) if program == "sft" else grpo_program(cfg, mesh, model, static)
        lowered, trained = planned.lower(), param.count(planned.state.params)
        operations = flops.sft_step(cfg, seconds) if program == "sft" else flops.grpo_step(cfg, static, seconds)
    else:
        lowered = captioning.lower(cfg, mesh, model, static, CAPTIONED)
        operations = flops.caption_step(cfg, static, seconds, CAPTIONED)

    compilations = []

    def count(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            compilations.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(count)
    clock = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - clock
    declared = captioner.declare(cfg)
    return {
        "program": program,
        "config": cfg.name,
        "topology": topology or f"{jax.default_backend()}:{mesh.size}",
        "executables": len(compilations),
        **host_traffic(compiled.as_text() or ""),
        "peak_bytes_per_device": _peak(compiled),
        "flops": operations,
        "parameters": {
            "all": param.count(declared),
            "encoders": param.count(declared.encoders),
            "decoder": param.count(declared.decoder),
            "reward": param.count(model.sentence),
            "trained": trained,
        },
        "compile_seconds": round(seconds, 2),
        "fingerprint": hashlib.sha256(lowered.as_text().encode()).hexdigest(),
        "assumed": assumed,
    }


def host_traffic(program: str) -> dict[str, int]:
    """Instructions of a compiled program (HLO text) that reach to the host."""
    return {
        "host_callbacks": len(re.findall(r'custom_call_target="[^"]*callback[^"]*"', program))
        + len(re.findall(r"is_host_transfer=true", program)),
        "infeeds": len(re.findall(r"= [^=]*\binfeed\(", program)),
        "outfeeds": len(re.findall(r"= [^=]*\boutfeed\(", program)),
    }


def _devices(topology: str) -> list[Any]:
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as e:  # the plugin raises types of its own
        why = str(e).strip().splitlines()[0]
        raise ConfigError(
            f"topology {topology!r} cannot be compiled for: {why}; wanted a name such as v5e:4x4, and the TPU "
            "compiler: pip install 'emojax[tpu]'"
        ) from e


def _reward(cfg: Config) -> tuple[Any, list[str]]:
    """The reward, and what was assumed of it: shapes alone, where a preset gives the sizes of files not at hand."""
    from emojax import hub, rewards
    from emojax.rewards import sentence

    decoder = cfg.model.decoder
    absent = [decoder.weights] if decoder.weights and not hub.local(decoder.weights) else []
    if cfg.reward.sizes and not sentence.local(cfg.reward.model):
        absent.append(cfg.reward.model)
    if not absent:
        return rewards.build(cfg.reward, _tokenizer(cfg)), absent
    if cfg.reward.sizes is None:
        raise ConfigError(f"{', '.join(absent)}: not at hand, and reward.sizes does not say what to take it for")
    encoders = [part.weights for part in (cfg.model.audio, cfg.model.video) if part and part.weights]
    absent += [weights for weights in encoders if not hub.local(weights)]
    return rewards.abstract(cfg.reward, decoder.vocab), absent


def _tokenizer(cfg: Config) -> Any:
    """The tokenizer that training would use; the built-in corpus is worded, not rendered."""
    from emojax import pretrained
    from emojax.data import source, synthetic
    from emojax.data.text import train_tokenizer

    if cfg.model.decoder.weights:
        return pretrained.tokenizer(cfg)
    if cfg.data.manifest:
        texts = source.texts(source.split(source.manifest(cfg), "train"))
    else:
        records = synthetic.describe(cfg.data.corpus, cfg.seed)
        train = [record for record in records if record["split"] == "train"]
        texts = [text for record in train for text in (*record["captions"], record["transcript"])]
    return train_tokenizer(texts, cfg.model.decoder.vocab)


def _peak(compiled: Any) -> int:
    memory = compiled.memory_analysis()
    peak = getattr(memory, "peak_memory_in_bytes", 0)  # newer versions say it themselves
    total = (
        memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    ) + memory.temp_size_in_bytes
    return int(max(peak, total))


def show(report: dict[str, Any]) -> str:
    """The report for the screen."""
    parts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in report["parameters"].items())
    lines = {
        "program": f"{report['program']} of {report['config']} for {report['topology']}",
        "executables": report["executables"],
        "host callbacks": report["host_callbacks"],
        "infeeds, outfeeds": f"{report['infeeds']}, {report['outfeeds']}",
        "peak per device": f"{report['peak_bytes_per_device'] / BYTES:.1f} MiB",
        "operations a step": f"{report['flops'] / 1e9:.2f} GFLOP, counted by hand",
        "parameters": parts,
        "compiled in": f"{report['compile_seconds']} s",
        "fingerprint": report["fingerprint"],
        "assumed": ", ".join(report["assumed"]) or "nothing",
    }
    return "\n".join(f"{name:<18} {value}" for name, value in lines.items())
