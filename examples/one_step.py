"""One Emo-GRPO step looked at: samples, rewards by part, advantages, gradients. python examples/one_step.py [INIT]"""

import sys

import emojax


def main(init: str | None = None, preset: str = "tiny") -> emojax.Seen:
    step = emojax.Step(emojax.preset(preset, "grpo.batch=8"), init=init)
    _, seen = step(step.start(), next(step.batches(1)))
    for clip, captions, reward, advantage in zip(seen.clips, seen.captions, seen.reward, seen.advantage, strict=True):
        print(clip)
        for caption, r, a in zip(captions, reward, advantage, strict=True):
            print(f"  reward {r:+.3f}  advantage {a:+.2f}  {caption!r}")
    print({part: round(float(x.mean()), 3) for part, x in seen.parts.items()}, seen.norms())
    return seen


if __name__ == "__main__":
    main(*sys.argv[1:])
