"""The page of a run: `report.html`."""

from pathlib import Path

from emojax.report import about, examples, groups, learning, page, plane, reliability, scores
from emojax.report.page import Html, element
from emojax.report.runs import Run, read_run

FILE = "report.html"


def write(path: Path) -> Path:
    """Reads a run, writes its page into it and says where. Raises RunError, WriteError."""
    out = path / FILE
    page.write(out, page_of(read_run(path)))
    return out


def page_of(run: Run) -> str:
    """The page of a run that ended or still goes on; what it has not written yet has no section."""
    name = run.settings.get("name")
    title = f"{name}: {run.path.name}" if isinstance(name, str) else run.path.name
    return page.whole(
        title,
        element("p", element("code", str(run.path)), f": {run.state}."),
        scores.table_of_scores(run),
        _without_clips(run),
        learning.learning(run),
        scores.facts(run),
        plane.plane(run),
        groups.confusion(run),
        groups.by_group(run),
        reliability.calibration(run.rows),
        examples.ends(run),
        examples.samples(run),
        about.seconds(run),
        about.made_with(run),
    )


def _without_clips(run: Run) -> Html:
    if not run.rows or run.clips:
        return Html()
    told = "Its scores were kept for the whole alone (no scores.jsonl), so there are no intervals, clips and plane."
    return element("p", told, at={"class": "soft"})
