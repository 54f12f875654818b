"""Which mesh is chosen, for devices that nobody here has; and what is said where none can be."""

import dataclasses
import itertools
import math
from dataclasses import dataclass

import jax
import pytest

from emojax.config import Config, ConfigError, LlamaConfig, Mesh, presets
from emojax.parallel import meshes, sharding
from emojax.parallel.meshes import Sizes
from emojax.training import stage_mesh
from support import made_up

CFG = made_up.config()
WIDE = dataclasses.replace(  # nothing in it stands against any mesh of up to 64 devices
    made_up.with_grpo(made_up.with_sft(CFG, batch=64), batch=64, group=8),
    model=dataclasses.replace(
        CFG.model, decoder=LlamaConfig(vocab=128, width=64, layers=1, heads=64, kv_heads=64, head_width=2, ff=64)
    ),
)


@dataclass(frozen=True)
class Device:
    id: int
    process_index: int = 0
    slice_index: int | None = None
    device_kind: str = "cpu"
    platform: str = "cpu"

    def memory_stats(self) -> None:
        """As a CPU has none."""


def devices(hosts: int, each: int, slices: int = 1, kind: str = "cpu") -> list[Device]:
    slice_of = [i * slices // hosts if slices > 1 else None for i in range(hosts)]
    return [Device(h * each + i, h, slice_of[h], kind) for h in range(hosts) for i in range(each)]


def gib(needed: float):
    """State of so many GiB in all, cut over every device of a copy."""
    return lambda sizes: needed * 2**30 / sizes.fsdp / sizes.model


def replicated(needed: float):
    """As above, but with a copy that fsdp does not cut."""
    return lambda sizes: needed * 2**30 / sizes.model


V5E = {"kind": "TPU v5 lite"}  # 16 GiB
AUTO = {
    "one device": (devices(1, 1), Mesh(), None, (1, 1, 1)),
    "one host": (devices(1, 8), Mesh(), None, (1, 8, 1)),
    "hosts": (devices(4, 4), Mesh(), None, (4, 4, 1)),
    "a process a device": (devices(8, 1), Mesh(), None, (8, 1, 1)),
    "slices": (devices(8, 4, slices=2), Mesh(), None, (2, 16, 1)),
    "data is given": (devices(1, 8), Mesh(data=8), None, (8, 1, 1)),
    "fsdp is given": (devices(4, 4), Mesh(fsdp=2), None, (8, 2, 1)),
    "model is given": (devices(4, 4), Mesh(model=2), None, (4, 2, 2)),
    "it fits": (devices(4, 4, **V5E), Mesh(), gib(30), (4, 4, 1)),
    "it fits two hosts": (devices(4, 4, **V5E), Mesh(), gib(60), (2, 8, 1)),
    "a copy does not fit": (devices(4, 4, **V5E), Mesh(), replicated(18), (4, 2, 2)),
    "a copy does not fit, fsdp given": (devices(4, 4, **V5E), Mesh(fsdp=8), replicated(18), (1, 8, 2)),
    "nothing fits": (devices(1, 4, **V5E), Mesh(), gib(1000), (1, 4, 1)),
}


@pytest.mark.parametrize(("on", "mesh", "held", "wanted"), AUTO.values(), ids=AUTO)
def test_what_is_left_open_is_chosen(on, mesh: Mesh, held, wanted: tuple[int, int, int]) -> None:
    assert meshes.choose(dataclasses.replace(WIDE, mesh=mesh), on, None, held) == wanted


@pytest.mark.parametrize(
    ("preset", "stage", "on", "wanted"),
    [
        ("base", "grpo", devices(4, 4, **V5E), (4, 4, 1)),
        ("base", "grpo", devices(64, 4, **V5E), (32, 8, 1)),  # 32 clips, 8 samples each
        ("base", "grpo", devices(8, 4, slices=2, **V5E), (2, 16, 1)),
        ("mecap_r1_large", "grpo", devices(4, 4, **V5E), None),
    ],
)
def test_presets_have_a_mesh(preset: str, stage: meshes.Stage, on, wanted: tuple[int, int, int] | None) -> None:
    cfg = presets.load(preset)
    got = meshes.choose(cfg, on, stage, lambda sizes: stage_mesh.bytes_held(cfg, stage, sizes))
    assert got == wanted or (wanted is None and got.model > 1), "7 B in bfloat16 do not fit 16 GiB beside anything"


def test_slices_are_whole_along_data() -> None:
    mixed = sorted(devices(4, 2, slices=2), key=lambda d: (d.id * 5) % 8)
    mesh = meshes.arrange(mixed, Sizes(4, 2, 1))
    assert [{d.slice_index for d in rows.flat} for rows in (mesh[:2], mesh[2:])] == [{0}, {1}]
    assert {d.id for d in mesh.flat} == set(range(8))
    with pytest.raises(ConfigError, match="within a slice of 4"):
        meshes.choose(dataclasses.replace(WIDE, mesh=Mesh(fsdp=8)), mixed, None, None)


def test_a_mesh_is_taken_where_the_rules_give_each_device_a_share_and_nowhere_else() -> None:
    for clips, group, (data, fsdp) in itertools.product(
        (2, 4, 6, 8, 12), (2, 3, 4, 8), [(1, 8), (2, 4), (4, 2), (8, 1)]
    ):
        sizes = {"data": data, "fsdp": fsdp, "model": 1}
        shares = math.prod(sharding.parts(along, sizes) for along in sharding.sharded_over("BG", (clips, group), sizes))
        cfg = dataclasses.replace(made_up.with_grpo(WIDE, batch=clips, group=group), mesh=Mesh(data, fsdp, 1))
        try:
            meshes.choose(cfg, devices(1, 8), "grpo", None)
            taken = True
        except ConfigError:
            taken = False
        assert taken == (shares == 8), (clips, group, data, fsdp, shares)


def with_decoder(**sizes) -> Config:
    decoder = dataclasses.replace(WIDE.model.decoder, **sizes)
    return dataclasses.replace(WIDE, model=dataclasses.replace(WIDE.model, decoder=decoder))


REFUSED = {
    "batch": (
        made_up.with_grpo(WIDE, batch=20, group=3),
        Mesh(data=8),
        r"grpo.batch=20 is no multiple of 8 .*take 16 or 24",
    ),
    "samples": (
        made_up.with_grpo(WIDE, batch=3, group=6),
        Mesh(data=2, fsdp=4),
        r"grpo.batch=3 is no multiple of 8 .*take 8, or grpo.group a multiple of 4",
    ),
    "cold start": (made_up.with_sft(WIDE, batch=4), Mesh(data=1, fsdp=8), r"sft.batch=4 is no multiple of 8 .*take 8"),
    "micro-batch": (
        made_up.with_sft(WIDE, micro_batch=4),
        Mesh(data=8),
        r"sft.micro_batch=4 is no multiple of 8 \(data=8, fsdp=1\); take 8",
    ),
    "heads": (
        with_decoder(heads=12, kv_heads=6),
        Mesh(model=4),
        r"kv_heads=6 is no multiple of mesh.model=4; model may be 1 or 2",
    ),
    "vocabulary": (
        with_decoder(vocab=126),
        Mesh(model=4),
        r"decoder.vocab \+ decoder.padding=126 .*model may be 1 or 2, or decoder.padding=2",
    ),
    "width": (with_decoder(width=36), Mesh(fsdp=8), r"width=36 is no multiple of mesh.fsdp=8; fsdp may be 1, 2 or 4"),
    "devices": (
        WIDE,
        Mesh(fsdp=3),
        r"mesh.fsdp=3 does not fit 8 devices .*must make 8.*these meshes do: data=1, fsdp=8",
    ),
}


@pytest.mark.parametrize(("cfg", "mesh", "says"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_the_number_and_those_that_would_do(cfg: Config, mesh: Mesh, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        meshes.choose(dataclasses.replace(cfg, mesh=mesh), devices(1, 8), None, None)
    assert "do: " in str(refused.value) or "no mesh of 8 devices does" in str(refused.value)


def test_all_devices_have_a_place() -> None:
    mesh = sharding.make_mesh(WIDE, jax.devices()[:8])
    assert dict(mesh.shape) == {"data": 1, "fsdp": 8, "model": 1}
    assert set(mesh.devices.flat) == set(jax.devices()[:8])
