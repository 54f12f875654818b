"""What a compiled program is said to send is what it sends: on eight CPU devices, and in a TPU compiler's words."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from emojax.planning import hlo
from emojax.planning.collectives import Collective, collectives, table

MESH = jax.make_mesh((2, 4), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
TWO_SLICES = [0] * 4 + [1] * 4  # of which axis `a` is made


def found(f: Callable[[Any], Any], slices: list[int] = TWO_SLICES) -> list[Collective]:
    """Of a function of one device's rows of f32[16 24]."""
    spec = PartitionSpec(("a", "b"))
    mapped = jax.shard_map(f, mesh=MESH, in_specs=spec, out_specs=spec, check_vma=False)
    x = jax.ShapeDtypeStruct((16, 24), jnp.float32, sharding=NamedSharding(MESH, spec))
    return collectives(jax.jit(mapped).lower(x).compile().as_text() or "", 8, slices)


ROWS = 2 * 24 * 4  # bytes of a device


@pytest.mark.parametrize(
    ("f", "kind", "whole", "sent", "members", "slices"),
    [
        (lambda x: jax.lax.psum(x, "b"), "all-reduce", ROWS, 2 * ROWS * 3 / 4, 4, False),
        (lambda x: jax.lax.psum(x, "a"), "all-reduce", ROWS, 2 * ROWS / 2, 2, True),
        (lambda x: jax.lax.all_gather(x, "b").sum(0), "all-gather", 4 * ROWS, 3 * ROWS, 4, False),
        (lambda x: jax.lax.all_gather(x, ("a", "b")).sum(0), "all-gather", 8 * ROWS, 7 * ROWS, 8, True),
        (
            lambda x: jnp.tile(jax.lax.psum_scatter(x, "b", scatter_dimension=1, tiled=True), 4),
            "reduce-scatter",
            ROWS,
            ROWS * 3 / 4,
            4,
            False,
        ),
        (
            lambda x: jax.lax.all_to_all(x.reshape(4, 12), "b", 0, 0).reshape(2, 24),
            "all-to-all",
            ROWS,
            ROWS * 3 / 4,
            4,
            False,
        ),
        (
            lambda x: jax.lax.ppermute(x, "a", [(0, 1), (1, 0)]),
            "collective-permute",
            ROWS,
            ROWS,
            2,
            True,
        ),
    ],
)
def test_a_collective_is_told_with_its_bytes_and_its_network(
    f: Callable[[Any], Any], kind: str, whole: int, sent: float, members: int, slices: bool
) -> None:
    (one,) = found(f)
    assert (one.kind, one.bytes, one.sent, one.members, one.slices) == (kind, whole, sent, members, slices)
    assert one.times == hlo.Times(1)
    assert not any(same.slices for same in found(f, [0] * 8))


def test_what_a_loop_sends_is_multiplied_by_its_iterations() -> None:
    def inner(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.sin(jax.lax.psum(x, "b")), None

    def outer(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jax.lax.scan(inner, x, length=3)[0], None

    (one,) = found(lambda x: jax.lax.scan(outer, x, length=5)[0])
    assert one.times == hlo.Times(15)
    (row,) = table([one])
    assert (row["instructions"], row["executed"], row["bytes"]) == (1, 15, 15 * ROWS)


def test_a_loop_that_may_end_early_is_counted_to_its_end_and_said_to_be_so() -> None:
    """As the decoder's loop: until all have ended, at most so many."""

    def f(x: jax.Array) -> jax.Array:
        def go(c: tuple[jax.Array, jax.Array]) -> jax.Array:
            return (c[0] < 7) & (jax.lax.pmax(c[1], ("a", "b")).max() < 100)

        return jax.lax.while_loop(go, lambda c: (c[0] + 1, c[1] * 2), (jnp.int32(0), x))[1]

    (one,) = found(f)
    assert one.times == hlo.Times(7, bounded=True)
    assert table([one])[0]["may_end_early"] is True


def test_a_loop_whose_end_is_computed_is_told_by_the_iteration() -> None:
    def f(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda y: y.sum() < 1e6, lambda y: jax.lax.psum(y, "b"), x)

    assert {one.times for one in found(f)} == {hlo.Times(1, unknown=True)}


# As libtpu 0.0.50.1 has it, shortened. An all-gather is fused with the work it hides behind: its start, a piece and its
# end are three fusions of one channel. Nothing says how often a loop runs; its condition is read. A reduce-scatter is a
# fusion that holds an all-reduce. A tpu7x calls its SparseCores for a gather beside other work. What goes to the other
# slices is a transfer through the host, by the runtime.
TPU = """HloModule jit_step, is_scheduled=true

%async_collective_fusion.1 (p: f32[2,8]) -> f32[8,8] {
  %p = f32[2,8]{1,0:T(8,128)} parameter(0)
  ROOT %g.1 = f32[8,8]{1,0:T(8,128)} all-gather(%p), channel_id=9, replica_groups=mesh['data'=2,'fsdp'=4] {'fsdp'}
}

%async_collective_fusion.2 (p.1: f32[2,8]) -> f32[8,8] {
  %p.1 = f32[2,8]{1,0:T(8,128)} parameter(0)
  ROOT %g.2 = f32[8,8]{1,0:T(8,128)} all-gather(%p.1), channel_id=9, replica_groups=mesh['data'=2,'fsdp'=4] {'fsdp'}
}

%all-reduce-scatter.3.clone (p.2: f32[16,8]) -> f32[4,8] {
  %p.2 = f32[16,8]{1,0:T(8,128)} parameter(0)
  %r = f32[16,8]{1,0:T(8,128)} all-reduce(%p.2), channel_id=4, replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %d = f32[4,8]{1,0:T(8,128)} dynamic-slice(%r, %p.2), dynamic_slice_sizes={4,8}
}

%called_computation.5 (p.3: f32[2,8]) -> f32[8,8] {
  %p.3 = f32[2,8]{1,0:T(8,128)} parameter(0)
  ROOT %g.5 = f32[8,8]{1,0:T(8,128)} all-gather(%p.3), channel_id=5, replica_groups=mesh['data'=2,'fsdp'=4] {'fsdp'}
}

%body (c: (s32[], f32[2,8])) -> (s32[], f32[2,8]) {
  %c = (s32[]{:T(128)}, f32[2,8]{1,0:T(8,128)}) parameter(0)
  %f.1 = f32[8,8]{1,0:T(8,128)} fusion(%c), kind=kCustom, calls=%async_collective_fusion.1
  %f.2 = f32[8,8]{1,0:T(8,128)} fusion(%f.1), kind=kCustom, calls=%async_collective_fusion.2
  ROOT %t = (s32[]{:T(128)}, f32[2,8]{1,0:T(8,128)}) tuple(%c, %f.2)
}

%condition (c.1: (s32[], f32[2,8])) -> pred[] {
  %c.1 = (s32[]{:T(128)}, f32[2,8]{1,0:T(8,128)}) parameter(0)
  %n = s32[]{:T(128)} constant(10)
  %i = s32[]{:T(128)} get-tuple-element(%c.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %n), direction=LT
}

ENTRY %main (x: f32[2,8]) -> f32[4,8] {
  %x = f32[2,8]{1,0:T(8,128)} parameter(0)
  %w = (s32[]{:T(128)}, f32[2,8]{1,0:T(8,128)}) while(%x), condition=%condition, body=%body
  %g.5.call-start = ((), (), (s32[1]{0:T(128)})) call-start(), async_execution_thread="sparsecore", """ + (
    "to_apply=%called_computation.5\n"
    "  %g.5.call-update = ((f32[2,8]{1,0:T(8,128)}), f32[8,8]{1,0:T(8,128)}) call-update(%g.5.call-start, %x)\n"
    "  %g.5.call-done = f32[8,8]{1,0:T(8,128)} call-done(%g.5.call-update)\n"
    "  %s = (f32[4,8]{1,0:T(8,128)}, u32[]{:S(2)}, token[]) send(%w), channel_id=3, is_host_transfer=true, "
    'frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",'
    '_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}\n'
    "  %sd = token[] send-done(%s), channel_id=3, is_host_transfer=true, frontend_attributes="
    '{_xla_host_transfer_handler_name="xla_megascale_runtime"}\n'
    "  ROOT %rs = f32[4,8]{1,0:T(8,128)} fusion(%w), kind=kCustom, calls=%all-reduce-scatter.3.clone\n}\n"
)


def test_the_words_of_the_tpus_compiler_are_understood() -> None:
    rows = table(collectives(TPU, 8, TWO_SLICES))
    told = [(row["kind"], row["network"], row["instructions"], row["executed"], row["bytes"]) for row in rows]
    assert told == [
        ("all-gather", "ici", 2, 11, 11 * 8 * 8 * 4),
        ("all-reduce", "dcn", 1, 1, 4 * 8 * 4),
        ("reduce-scatter", "ici", 1, 1, 16 * 8 * 4),
    ]
    assert hlo.host_traffic(TPU) == {"host_callbacks": 0, "infeeds": 0, "outfeeds": 0}
    assert hlo.host_traffic(TPU.replace("xla_megascale_runtime", "python"))["host_callbacks"] == 1


@pytest.mark.parametrize(
    ("groups", "crosses"),
    [
        ("replica_groups={}", True),
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", False),
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", True),
        ("replica_groups=[2,4]<=[8]", False),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", True),
        ("replica_groups=mesh['data'=2,'fsdp'=2,'model'=2] {'fsdp','model'}", False),
        ("replica_groups=mesh['data'=2,'fsdp'=2,'model'=2] {'data'}", True),
        ("replica_groups=mesh['data'=8] {'data':(2)4}", False),
        ("replica_groups=mesh['data'=8] {'data':(1)2}", True),
    ],
)
def test_groups_are_read_however_they_are_spelled(groups: str, crosses: bool) -> None:
    text = f"ENTRY %main (x: f32[2]) -> f32[2] {{\n  ROOT %r = f32[2] all-reduce(%x), channel_id=1, {groups}\n}}\n"
    (one,) = collectives(text, 8, TWO_SLICES)
    sizes = {"{}": 8, "{{0,1,2,3},{4,5,6,7}}": 4, "[2,4]<=[8]": 4, "mesh['data'=8] {'data':(2)4}": 4}
    assert one.slices == crosses
    assert one.members == sizes.get(groups.removeprefix("replica_groups="), 4 if "fsdp'," in groups[40:] else 2)


def test_bytes_of_a_shape() -> None:
    shape = "(f32[2,3]{1,0:T(8,128)}, bf16[4]{0}, /*index=2*/pred[8]{0}, s4[16]{0:E(4)}, u32[]{:S(2)}, token[])"
    assert hlo.elements(shape) == [24, 8, 8, 8, 4, 0]
    assert hlo.size(shape) == 52


# host traffic


def compiled(f: Callable[[Any], Any]) -> str:
    return jax.jit(f).lower(jax.ShapeDtypeStruct((4,), jnp.float32)).compile().as_text() or ""


def test_what_reaches_to_the_host_is_found_in_a_compiled_program() -> None:
    def pure(x: jax.Array) -> jax.Array:
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    def printed(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda y: None, x)
        return x + 1

    def looped(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 3, lambda _, y: pure(y), x)

    for f in (pure, printed, looped):
        assert hlo.host_traffic(compiled(f))["host_callbacks"] > 0
    quiet = functools.partial(jax.lax.fori_loop, 0, 3, lambda _, y: jnp.sin(y) @ y * y)
    assert hlo.host_traffic(compiled(quiet)) == {"host_callbacks": 0, "infeeds": 0, "outfeeds": 0}


def test_infeeds_and_outfeeds_are_found_as_hlo_spells_them() -> None:
    text = "  %a = ((f32[4]{0}), token[]) infeed(%t)\n  ROOT %b = token[] outfeed(%x, %t), outfeed_shape=f32[4]{0}\n"
    assert hlo.host_traffic(text) == {"host_callbacks": 0, "infeeds": 1, "outfeeds": 1}
