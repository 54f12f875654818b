"""How captions are decoded: one record from the command to the device."""

from dataclasses import dataclass
from typing import Any

from emojax.config import ConfigError, Sampling


@dataclass(frozen=True)
class Decoding:
    """How clips are captioned.

    Raises:
      ConfigError: several samples of a clip without `sampling`, which would all be the same; a size below 1.
    """

    batch_size: int = 16  # clips at once, rounded up to a multiple of the devices
    samples: int = 1  # captions per clip
    sampling: Sampling | None = None  # None: greedy
    seed: int = 0  # of the sampling noise, which also depends on the clip's id, not on its place
    ordered: bool = False  # records in the order of the clips, not as they are made
    workers: int | None = None  # processes that decode media; None: by the cores of this host
    windows: bool = False  # hear all of a recording that is longer than the last of data.audio_seconds, part by part

    def __post_init__(self) -> None:
        for name in ("batch_size", "samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} wants a positive number, got {getattr(self, name)}")
        if self.samples > 1 and self.sampling is None:
            raise ConfigError(
                f"{self.samples} greedy captions of a clip are all the same; give a sampling, or samples=1"
            )

    def settings(self) -> dict[str, Any]:
        """What a file of captions depends on, as JSON holds it."""
        return {
            "samples": self.samples,
            "sampling": None if self.sampling is None else vars(self.sampling),
            "seed": self.seed if self.sampling is not None else None,
            "ordered": self.ordered,
            **({"windows": True} if self.windows else {}),  # files from before know of none
        }
