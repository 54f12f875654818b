"""What an import found, missed and decided, counted, with names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_NAMED = 20  # names that a list shows


@dataclass
class Report:
    name: str
    official: Mapping[str, int] = field(default_factory=dict)  # clips that each split should list; none: not known
    tables: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # rows of a list: here, officially
    listed: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)  # listed clips with a file
    written: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)  # ids of clips without any file
    broken: dict[str, str] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)  # ids that are listed twice
    unlisted: list[str] = field(default_factory=list)  # media that no clip names
    doubled: list[str] = field(default_factory=list)  # of a name that is read elsewhere
    pointers: Sequence[Path] = ()
    unmapped: Counter[str] = field(default_factory=Counter)  # clips by label that no concept stands for
    uncaptioned: int = 0  # training clips that were left out for it
    without: Counter[str] = field(default_factory=Counter)  # written clips without a stream, by its name
    notes: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[str]:
        """Splits and lists of other numbers than officially."""
        numbers = dict(self.tables)
        if self.official:
            splits = dict.fromkeys((*self.official, *self.listed))
            numbers |= {split: (self.listed[split], self.official.get(split, 0)) for split in splits}
        return [
            f"{split}: {here:,} listed, {there:,} officially"
            for split, (here, there) in numbers.items()
            if here != there
        ]

    def lines(self) -> list[str]:
        """For people."""
        splits = list(dict.fromkeys((*self.official, *self.listed)))
        rows: list[tuple[str, ...]] = [("split", "official", "listed", "found", "written")]
        for split in splits:
            official = f"{self.official.get(split, 0):,}" if self.official else "-"
            counts = (self.listed[split], self.found[split], self.written[split])
            rows.append((split, official, *(f"{n:,}" for n in counts)))
        out = [self.name, *("  ".join(f"{cell:>10}" for cell in row) for row in rows)]
        out += [f"note: {note}" for note in self.notes]
        out += [f"warning: {difference}" for difference in self.differences]
        out += _named("warning: without a file", self.missing)
        out += _named("known to be broken, left out", [f"{clip} ({why})" for clip, why in self.broken.items()])
        out += _named("listed twice, the first is kept", self.repeated)
        out += _named("there twice, read where the path is shortest", self.doubled)
        out += _named("not listed, left alone", self.unlisted)
        out += _named("Git LFS pointers, no files: run `git lfs pull`", [str(path) for path in self.pointers])
        if self.unmapped:
            told = ", ".join(f"{label} {count:,}" for label, count in self.unmapped.most_common())
            out.append(f"labels without a counterpart, kept as extra.label ({self.unmapped.total():,}): {told}")
        if self.uncaptioned:
            out.append(
                f"training clips without captions, left out: {self.uncaptioned:,} (--keep-uncaptioned keeps them)"
            )
        out += [f"written without {stream}: {count:,}" for stream, count in self.without.items() if count]
        return out


def _named(what: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return [f"{what} ({len(names):,}): {', '.join(names[:_NAMED])}{more}"]
