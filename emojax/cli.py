"""The `emojax` command.

It ends with 0 when it is done; with 2 when it was asked for what cannot be done, which it says; with 75 when training
was stopped by SIGTERM or Ctrl-C, complete up to a finished step, to be resumed with --resume; with 130 at a second
Ctrl-C, at once; with 1 when nothing could be captioned, or two runs differ; else something broke.
"""

import logging
import os
import signal
import sys
import traceback
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import tyro

from emojax.commands import datasets, encode, rank, report, reproduce, serve, tools, train, use
from emojax.errors import Stopped
from emojax.parallel import xla

COMMANDS = {
    "demo": train.demo,
    "synth": tools.synth,
    "sft": train.sft,
    "grpo": train.grpo,
    "dpo": train.dpo,
    "train": train.train,
    "import": datasets.import_,
    "manifest": datasets.manifest,
    "export-data": datasets.export_data,
    "encode": encode.encode,
    "caption": use.caption,
    "evaluate": use.evaluate,
    "report": report.report,
    "rank": rank.rank,
    "serve": serve.serve,
    "export": use.export,
    "record": reproduce.record,
    "compare": reproduce.compare,
    "study": reproduce.study,
    "verify": reproduce.verify,
    "plan": tools.plan,
    "check-text": tools.check_text,
    "bench": tools.bench,
    "doctor": tools.doctor,
}


def main() -> None:
    """Errors that a user can cause are one line; EMOJAX_TRACEBACK=1 shows where they come from."""
    assert logging.lastResort is not None, "nobody has taken it away"
    logging.lastResort.setLevel(logging.INFO)  # which shows what no handler does, one line each
    logging.getLogger("emojax").setLevel(logging.INFO)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    xla.set_environment()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    if sys.argv[1:] == ["--version"]:
        print(f"emojax {version('emojax')}")
        return
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="emojax", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,)
        )
    except (ValueError, OSError, RuntimeError) as e:
        if os.environ.get("EMOJAX_TRACEBACK") or not _by_user(e):
            raise
        from emojax.parallel import hosts

        print(f"emojax: {e}", file=sys.stderr)
        hosts.end(2)
    except Stopped as e:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # the code below is to be seen, however often it is told
        print(f"emojax: {e}", file=sys.stderr)
        sys.exit(Stopped.EXIT)
    except KeyboardInterrupt:
        from emojax.parallel import hosts

        print("emojax: interrupted", file=sys.stderr)
        hosts.end(128 + signal.SIGINT)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Ctrl-C: a KeyboardInterrupt, but where a module is being imported the end at once. There is nothing to be done
    yet, and the exception would come out of jaxlib's C++ as an abort."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            os.write(2, b"emojax: interrupted\n")
            os._exit(128 + signal.SIGINT)
        frame = frame.f_back
    raise KeyboardInterrupt


def _by_user(e: Exception) -> bool:
    """Files are the user's; a ValueError or RuntimeError is if emojax itself raised it: those say what to do."""
    raised = traceback.extract_tb(e.__traceback__)[-1].filename
    return isinstance(e, OSError) or Path(raised).is_relative_to(Path(__file__).parent)


if __name__ == "__main__":
    main()
