"""Continue a run: more steps than it was begun for, then Emo-GRPO from it. python examples/continue_run.py RUN"""

import sys

import emojax


def main(run: str, preset: str = "tiny") -> emojax.Captioner:
    emojax.sft(emojax.preset(preset, "steps=4"), f"{run}/sft")
    emojax.sft(emojax.preset(preset, "steps=6"), f"{run}/sft", resume=True)  # two more
    emojax.sft(emojax.preset(preset, "steps=2"), f"{run}/again", init=f"{run}/sft")  # anew, from its weights
    emojax.grpo(emojax.preset(preset, "steps=2"), f"{run}/grpo", init=f"{run}/again")
    return emojax.load(f"{run}/grpo")


if __name__ == "__main__":
    main(*sys.argv[1:])
