"""A plan for the screen."""

from typing import Any

MIB = 1 << 20


def show(report: dict[str, Any]) -> str:
    parts = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in report["parameters"].items())
    mesh = ", ".join(f"{axis}={size}" for axis, size in report["mesh"].items())
    chips = f"{report['chips']} chips, " if report["chips"] != report["devices"] else ""
    lines = {
        "program": "{program} of {config} for {topology}, {clips} clips at once".format(**report),
        "devices": f"{chips}{report['devices']} devices: {mesh}",
        **_memory(report),
        **_told(report),
        "operations a step": f"{report['flops'] / 1e9:.2f} GFLOP, {report['flops_per_device'] / 1e9:.2f} a device, "
        "counted by hand",
        **_estimate(report.get("estimate")),
        "parameters": parts,
        "executables": report["executables"],
        "compiled in": f"{report['compile_seconds']} s",
        "fingerprint": report["fingerprint"],
        "assumed": ", ".join(report["assumed"]) or "nothing",
        **({"saved": report["saved"]} if "saved" in report else {}),
    }
    text = "\n".join(f"{name:<18} {value}" for name, value in lines.items())
    return f"{text}\n\n{_proposal(report['proposal'])}" if "proposal" in report else text


def _memory(report: dict[str, Any]) -> dict[str, str]:
    memory = report["memory"]
    lines = {"peak per device": f"{memory['peak'] / MIB:.1f} MiB"}
    parts = [name for name in ("arguments", "outputs", "temporaries") if name in memory]
    if parts:
        lines["peak per device"] += ": " + ", ".join(f"{name} {memory[name] / MIB:.1f}" for name in parts)
        lines["peak per device"] += f"; code {memory['code'] / MIB:.1f} beside them"
    if memory["left"] is not None:
        has, left = memory["capacity"] / MIB, memory["left"] / MIB
        verdict = f"{left:.1f} MiB left" if report["fits"] else f"OUT OF MEMORY: over by {-left:.1f} MiB"
        lines["device has"] = f"{has:.1f} MiB, {verdict}"
    return lines


def _told(report: dict[str, Any]) -> dict[str, str]:
    """What only a compiled program tells."""
    if "collectives" not in report:
        return {}
    lines = {"host callbacks": str(report["host_callbacks"])}
    lines["infeeds, outfeeds"] = f"{report['infeeds']}, {report['outfeeds']}"
    rows = report["collectives"]
    lines["collectives"] = f"\n{' ' * 19}".join(map(_row, rows)) or "none"
    return lines


def _row(row: dict[str, Any]) -> str:
    often = "up to " if row["may_end_early"] else ""
    alone = ", an iteration of a loop alone" if row["an_iteration_alone"] else ""
    return (
        f"{row['kind']} over {row['network'].upper()}: {row['instructions']} instructions, "
        f"run {often}{row['executed']} times{alone}, {often}{row['bytes'] / MIB:.2f} MiB"
    )


def _estimate(estimate: dict[str, Any] | None) -> dict[str, str]:
    if estimate is None:
        return {}
    lines = []
    for name, phase in estimate["phases"].items():
        parts = ", ".join(f"{part} {phase[part] * 1e3:.1f}" for part in ("operations", "memory", "ici", "dcn"))
        lines.append(f"{' ' * 19}{name} {phase['seconds'] * 1e3:.1f} ms, the longest of {parts}")
    assumed = "".join(f"\n{' ' * 19}assumed: {line}" for line in estimate["assumed"])
    total = f"at least {estimate['step_seconds'] * 1e3:.1f} ms, by a roofline, not measured"
    return {"a step takes": "\n".join([total, *lines]) + assumed}


def _proposal(proposal: dict[str, Any]) -> str:
    tried = "\n".join(
        f"  {' '.join(one['settings']) or 'as configured'}: {_needs(one)}, {'fits' if one['fits'] else 'does not fit'}"
        for one in proposal["tried"]
    )
    if proposal["settings"] is None:
        return f"nothing that was tried fits; take more chips, a shorter caption or a smaller group:\n{tried}"
    flags = " ".join(f"--set {setting}" for setting in proposal["settings"])
    return f"this fits: {flags}\ntried:\n{tried}"


def _needs(one: dict[str, Any]) -> str:
    return f"{'' if one['compiled'] else 'arguments alone '}{one['needs'] / MIB:.1f} MiB"
