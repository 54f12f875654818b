"""A run on queued resources, Google played by a test: whatever happens, the same command goes on, nothing is left."""

from collections.abc import Sequence

import pytest

import tpu
import tpu_commands
import tpu_slices
from emojax_command import LaunchError
from shell import Answer
from tpu_commands import Tpu

T = Tpu(name="run1", zone="z", tpu="v5e:4x4", spot=True, restarts=2)
STAGE = ["train", "--config", "base", "--out", "gs://bucket/run1"]
STARTED = ["emojax", *STAGE, "--resume", "--processes", "4"]


class Google:
    """A queued resource and its first host.

    `fates` are what happens, one each time that the log is followed: `preempted`, `told` (preempted, after emojax was
    told, saved and exited with 75), `dropped` (only the connection ends), `blinked` (and the next question is lost),
    `interrupted` (Ctrl-C), or an exit code. `broken` counts failed installations, `silent` what Google does not answer.
    """

    def __init__(self, *fates: str, state: str | None = None, host: str = "none", broken: int = 0, silent: int = 0):
        self.fates, self.state, self.host, self.broken, self.silent = list(fates), state, host, broken, silent
        self.dirty, self.next_states, self.refuses, self.unreachable = "", list[str](), False, 0
        self.done: list[str] = []
        self.words: list[list[str]] = []
        self.slept = 0

    def run(self, command: Sequence[str], wanted: bool) -> Answer:
        if command[0] == "git":
            return self._git(list(command))
        verb = command[4]
        if verb == "describe":
            return self._describe()
        if verb == "ssh" and any(" ask" in word for word in command):
            if self.unreachable:
                self.unreachable -= 1
                return Answer(255)
            return Answer(out=f"{self.host}\n") if self.state == "ACTIVE" else Answer(1)
        step = verb
        if verb == "ssh":
            script = next(word for word in command if word.startswith("--command=")).split("tpu_host.sh ")[1].split()
            step = script[0]
            if step == "start":
                self.words.append(script[1:])
        self.done.append(step)
        return Answer(getattr(self, f"_{step}")() or 0)

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        if self.next_states:
            self.state = self.next_states.pop(0)
        elif self.state == "DELETING":
            self.state = None
        assert self.slept < 1000, "the launcher waits for what does not come"

    def _git(self, command: list[str]) -> Answer:
        if "status" in command:
            return Answer(out=self.dirty)
        self.done.append("archive")
        return Answer()

    def _describe(self) -> Answer:
        if self.silent:
            self.silent -= 1
            return Answer(1, err="UNAVAILABLE")
        if self.state is None:
            return Answer(1, err="ERROR: NOT_FOUND: no such resource")
        return Answer(out=f"{self.state}\n")

    def _create(self) -> None:
        assert self.state is None, "it is there already"
        self.state, self.host = "WAITING_FOR_RESOURCES", "none"
        self.next_states = ["FAILED"] if self.refuses else ["PROVISIONING", "ACTIVE"]

    def _delete(self) -> None:
        self.state, self.next_states, self.host = "DELETING", [], "none"

    def _scp(self) -> int:
        return 0 if self.state == "ACTIVE" else 1

    def _prepare(self) -> int:
        if self.broken:
            self.broken -= 1
            return 1
        self.host = "none"
        return 0

    def _start(self) -> None:
        assert self.host != "running", "a second run would write to the same directory"
        self.host = "running"

    def _follow(self) -> None:
        fate = self.fates.pop(0)
        if fate == "preempted":
            self.state = "SUSPENDED"
        elif fate == "told":
            self.host, self.next_states = "75", ["SUSPENDING", "SUSPENDED"]
        elif fate == "interrupted":
            raise KeyboardInterrupt
        elif fate == "blinked":
            self.unreachable = 2
        elif fate != "dropped":
            self.host = fate


def launch(google: Google, t: Tpu = T) -> int:
    return tpu.launch(t, STAGE, google.run, google.sleep)


def test_a_run_that_is_preempted_twice_goes_on_by_the_same_command_and_leaves_nothing() -> None:
    google = Google("preempted", "told", "0")
    assert launch(google) == 0
    assert google.words == [STARTED] * 3
    once = ["create", "scp", "prepare", "start", "follow", "delete"]
    assert google.done == ["archive", *once * 3], "the code is that of the beginning"
    assert google.state in (None, "DELETING")


def test_preemptions_are_not_crashes() -> None:
    google = Google(*["preempted"] * 20, "0")
    assert launch(google) == 0
    assert google.done.count("create") == 21


def test_crashes_restart_the_run_on_the_same_slices_so_often_and_no_more() -> None:
    google = Google("1", "134", "0")
    assert launch(google) == 0
    assert (google.done.count("create"), google.done.count("start")) == (1, 3)
    google = Google(*["134"] * 9)
    assert launch(google) == 134
    assert google.done.count("start") == 1 + T.restarts
    assert google.done[-1] == "delete", "a run that is given up costs nothing"


def test_a_host_that_cannot_be_installed_is_a_crash() -> None:
    assert launch(Google("0", broken=T.restarts)) == 0
    google = Google(broken=9)
    assert launch(google) == 1
    assert google.done.count("prepare") == 1 + T.restarts


def test_a_users_error_ends_the_run() -> None:
    google = Google("2")
    assert launch(google) == 2
    assert google.done == ["archive", "create", "scp", "prepare", "start", "follow", "delete"]


def test_a_connection_that_breaks_is_made_again_and_the_run_is_not() -> None:
    google = Google("dropped", "blinked", "0")
    assert launch(google) == 0
    assert (google.done.count("start"), google.done.count("follow")) == (1, 3)


def test_a_host_that_cannot_be_reached_is_left_alone() -> None:
    google = Google("dropped", state="ACTIVE", host="running")
    google.unreachable = 99
    with pytest.raises(LaunchError, match="cannot be reached; a run goes on, and costs"):
        launch(google)
    assert google.done == []


def test_the_same_command_attaches_to_what_is_there() -> None:
    google = Google("0", state="ACTIVE", host="running")
    google.dirty = " M README.md"  # of no account: nothing is taken along
    assert launch(google) == 0
    assert google.done == ["follow", "delete"]
    google = Google("0", state="SUSPENDED")  # of an earlier launch
    assert launch(google) == 0
    assert google.done == ["delete", "archive", "create", "scp", "prepare", "start", "follow", "delete"]


def test_an_interrupted_launcher_leaves_the_run_alone(capsys: pytest.CaptureFixture[str]) -> None:
    google = Google("interrupted")
    assert launch(google) == 130
    assert google.state == "ACTIVE"
    assert "queued-resources delete run1" in capsys.readouterr().out, "what costs is said"


def test_slices_are_kept_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    google = Google("0")
    assert launch(google, Tpu(name="run1", zone="z", tpu="v5e:4x4", keep=True)) == 0
    assert google.state == "ACTIVE"
    assert "queued-resources delete run1" in capsys.readouterr().out


def test_code_that_is_not_committed_is_refused_before_it_costs() -> None:
    google = Google()
    google.dirty = " M emojax/config.py"
    with pytest.raises(LaunchError, match="commit them"):
        launch(google)
    assert google.done == []


def test_a_request_that_is_refused_is_not_made_again() -> None:
    google = Google()
    google.refuses = True
    with pytest.raises(LaunchError, match=r"the request was refused; why: gcloud .* describe run1"):
        launch(google)
    assert google.done == ["archive", "create"]


def test_google_may_be_silent_for_a_moment() -> None:
    assert launch(Google("0", silent=3)) == 0
    with pytest.raises(LaunchError, match="no answer about run1: UNAVAILABLE"):
        launch(Google("0", silent=99))


@pytest.mark.parametrize(
    ("name", "slices", "accelerator", "processes"),
    [
        ("v4:2x2x1", 1, "v4-8", 1),
        ("v4:2x2x4", 1, "v4-32", 4),
        ("v5e:1x1", 1, "v5litepod-1", 1),
        ("v5e:2x4", 1, "v5litepod-8", 1),
        ("v5e:16x16", 1, "v5litepod-256", 64),
        ("v5e:4x4", 2, "v5litepod-16", 8),
        ("v5p:4x4x4", 1, "v5p-128", 16),
        ("v5p:8x8x8", 1, "v5p-1024", 128),
        ("v6e:8x8", 3, "v6e-64", 48),
    ],
)
def test_the_accelerator_and_the_processes_of_a_topology(name, slices, accelerator, processes) -> None:
    """Google's tables ("TPU v4" to "TPU v6e", supported configurations)."""
    t = Tpu(name="run1", zone="z", tpu=name, slices=slices)
    assert tpu_slices.parse(name).accelerator == accelerator
    assert tpu_commands.checked(t, STAGE)[-2:] == ["--processes", str(processes)]
    nodes = ["--node-id=run1"] if slices == 1 else [f"--node-count={slices}", "--node-prefix=run1"]
    assert set(nodes) < set(tpu_commands.create(t))
