"""Says in plain words why the processes of a run did not come together.

JAX ends a process that waits in vain from C++, at once and with a stack trace, and Python cannot catch that. So while
a process waits, its standard error goes to this script, which outlives it: run as a file, with Python's own library.
"""

import re
import signal
import sys


def explain(said: str, process: str, processes: str, coordinator: str, timeout: float) -> str | None:
    """What JAX `said`, in our words; None where it said nothing that ends a process, or something else."""
    who = f"process {process} of {processes}"
    if "Terminating process" not in said:
        return None
    if came := re.search(r"tasks that reached the barrier: (\d+)/(\d+)", said):
        names = re.search(r"timed out task names:((?:\s+\d+)+)", said)
        missing = ", ".join(sorted(names[1].split(), key=int)) if names else "not said"
        return (
            f"{came[1]} of {came[2]} processes came within {timeout:g} s; missing: process {missing}. Look at its log, "
            "start it, or give all a longer --timeout"
        )
    if stranger := re.search(r"Unexpected task registered with task\D*(\d+)", said):
        return (
            f"process {stranger[1]} does not belong to this run: process 0 at {coordinator} was started with fewer "
            "processes; give all the same --processes"
        )
    if "Deadline Exceeded" in said or "UNAVAILABLE" in said:
        return (
            f"{who} did not reach process 0 at {coordinator} within {timeout:g} s: see that it runs, that this is its "
            "address, and that the port is open to this machine"
        )
    return None


def main() -> None:
    for name in (signal.SIGINT, signal.SIGTERM):  # they are for the process that waits
        signal.signal(name, signal.SIG_IGN)
    said = sys.stdin.read()
    process, processes, coordinator, timeout = sys.argv[1:]
    told = explain(said, process, processes, coordinator, float(timeout))
    sys.stdout.write(said if told is None else f"emojax: {told}\n")


if __name__ == "__main__":
    main()
