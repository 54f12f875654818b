"""A training step is one program for CPU, CUDA and TPU: lowered for all three from one trace, the host in none."""

import re

import jax
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from emojax.nn import kernels
from emojax.training.program import Program
from support import made_up
from support.made_up import config


def lowered(program: Program, *platforms: str) -> str:
    """StableHLO; lowered for several platforms it holds what each of them would run."""
    with jax.set_mesh(program.mesh):
        traced = program.step.trace(program.state, program.frozen, program.batch, program.key)  # pyright: ignore[reportFunctionMemberAccess] a jitted function has it
        return traced.lower(lowering_platforms=platforms).as_text()


def to_host(program: str) -> list[str]:
    """Instructions of StableHLO that reach to the host; a callback is a custom call."""
    return re.findall(r"stablehlo\.(?:send|recv|infeed|outfeed)\b|custom_call @\S*callback\S*", program)


def custom_calls(program: str) -> set[str]:
    return set(re.findall(r"custom_call @([\w.$]+)", program))


def test_what_reaches_to_the_host_is_found() -> None:
    def calls(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda y: None, x)
        return x

    assert to_host(jax.jit(calls).lower(1.0).as_text())
    with pytest.raises(ValueError, match="platform"):  # jax gives a callback for the platform at hand alone
        jax.jit(calls).trace(1.0).lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_one_trace_gives_the_programs_of_all_platforms_and_none_calls_the_host(stage: str) -> None:
    cfg = config(name="platforms")
    program = made_up.sft(cfg) if stage == "sft" else made_up.grpo(cfg, shipped_reward=True)
    text = lowered(program, "cpu", "cuda", "tpu")
    assert not to_host(text)
    assert not custom_calls(text), "it is made of ordinary instructions alone"


def test_the_cuda_program_of_a_machine_with_a_gpu_calls_cudnn_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernels, "has_flash", lambda: True)
    monkeypatch.setattr(kernels, "AT_ONCE", 256)  # of clips as short as these
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    text = lowered(made_up.sft(config(name="with a gpu", precision="bfloat16")), "cuda")
    assert custom_calls(text) == {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"}
    assert not to_host(text)
