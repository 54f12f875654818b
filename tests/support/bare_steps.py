"""One tiny step of each stage where only the training core's packages are: `python tests/support/bare_steps.py`.

`--block` hides all other packages first, for an environment that has them.
"""

import builtins
import importlib
import sys
from pathlib import Path

CORE = {"jax", "jaxlib", "flax", "optax", "einops", "numpy"}
OURS = {"emojax", "support"}


def block() -> None:
    """Refuses what neither the core's packages nor Python bring, and to emojax even what flax brings."""
    for package in CORE:
        importlib.import_module(package)
    known = {name.partition(".")[0] for name in sys.modules} | {"ml_dtypes", "opt_einsum", "scipy"}  # jax needs these
    ordinary = builtins.__import__

    class Refuse:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] not in known | OURS | sys.stdlib_module_names:
                raise ImportError(f"{name}: the training core must do without it")

    def checked(name: str, globals=None, locals=None, fromlist=(), level=0):
        importer = (globals or {}).get("__name__", "").partition(".")[0]
        if not level and importer == "emojax" and name.partition(".")[0] not in CORE | OURS | sys.stdlib_module_names:
            raise ImportError(f"{globals['__name__']} imports {name}: the training core must do without it")
        return ordinary(name, globals, locals, fromlist, level)

    sys.meta_path.insert(0, Refuse)  # pyright: ignore[reportArgumentType] it has all that a finder needs here
    builtins.__import__ = checked


def main() -> None:
    sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[1:3]]
    if "--block" in sys.argv:
        block()

    import numpy as np

    from support import made_up

    cfg = made_up.config()
    batch = made_up.batch(cfg)
    for name, program in (("sft", made_up.sft(cfg)), ("grpo", made_up.grpo(cfg, shipped_reward=True))):
        frozen = made_up.frozen(program, cfg, made_up.reward_model(cfg)[0])
        start = made_up.state(program, cfg)
        state, metrics = made_up.run(program, start, frozen, batch)
        assert np.isfinite(metrics["loss"]), metrics
        assert made_up.distance(state.params, start.params) > 0
        print(f"{name}: loss {metrics['loss']:.4f}, gradient norm {metrics['grad_norm']:.4f}")
    print("both steps ran")


if __name__ == "__main__":
    main()
