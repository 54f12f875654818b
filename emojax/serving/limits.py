"""What one request may take, and how many there may be at once."""

from dataclasses import dataclass, fields

from emojax.errors import require


@dataclass(frozen=True)
class Limits:
    """Flags of `emojax serve`."""

    max_bytes: int = 32 * 2**20  # of an uploaded file
    max_seconds: float = 600  # of a recording; of its sound the captioner hears the first seconds that it is made for
    max_requests: int = 128  # at once; whoever comes then is told to come again
    decoders: int = 4  # files that are decoded at once, a process each
    upload_timeout: float = 60  # seconds in which a request must have come, its head in a sixth of them
    decode_timeout: float = 30  # seconds for a file; the process that decodes it is ended then
    answer_timeout: float = 120  # seconds that a decoded clip waits for its caption

    def __post_init__(self) -> None:
        """Raises ConfigError for a limit that lets nothing through."""
        for field in fields(self):
            value = getattr(self, field.name)
            require(value > 0, f"--{field.name.replace('_', '-')} wants a positive number, got {value}")
