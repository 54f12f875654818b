"""What a run was made with and where its seconds went."""

import json
from collections.abc import Mapping
from typing import Any

from emojax.report.page import Html, details, element, joined, section
from emojax.report.runs import Run
from emojax.report.tables import pairs, table
from emojax.training import goodput
from emojax.training.goodput import KINDS


def seconds(run: Run) -> Html:
    """Seconds of each kind, of each stage, and their sum."""
    marks = {stage.title: stage.marks for stage in run.stages} | {"Report": run.marks}
    accounts = {name: goodput.account(found) for name, found in marks.items() if len(found) > 1}
    if not accounts:
        return Html()
    kinds = [kind for kind in KINDS if any(one.spent[kind] >= 0.05 for one in accounts.values())]
    longest = max(one.wall for one in accounts.values()) or 1.0
    rows = []
    for name, one in accounts.items():
        bar = element("span", at={"class": "bar", "style": f"width:{12 * one.wall / longest:.2f}em"})
        spent = [f"{one.spent[kind]:.1f}" for kind in kinds]
        rows.append([name, joined(f"{one.wall:.1f} ", bar), *spent, f"{one.other:.1f}", f"{one.lost:.1f}"])
    told = [element("p", line) for line in goodput.lines(marks)]
    head = ["", "seconds", *kinds, "other", "lost to restarts"]
    return section("Where the seconds went", *told, table(head, rows))


def made_with(run: Run) -> Html:
    """Commands, versions, devices of every session, and the whole configuration."""
    parts = []
    for stage in run.stages:
        for n, one in enumerate(stage.sessions, 1):
            name = stage.title + (f", session {n}" if len(stage.sessions) > 1 else "")
            parts.append(joined(element("h3", name), element("pre", str(one.get("command", ""))), _session(one)))
    settings = {name: json.dumps(value, ensure_ascii=False) for name, value in run.settings.items()}
    configuration = details(f"Configuration, {len(settings)} fields", pairs(settings)) if settings else ""
    return section("Made with", *parts, configuration)


def _session(one: Mapping[str, Any]) -> Html:
    versions = one.get("versions")
    told = versions if isinstance(versions, dict) else {}
    rest = {name: value for name, value in one.items() if name not in ("command", "versions")}
    found = {name: str(value) for name, value in told.items()}
    found |= {name: value if isinstance(value, str) else json.dumps(value) for name, value in rest.items()}
    return details("Versions, devices, data", pairs(found))
