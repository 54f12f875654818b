#!/usr/bin/env bash
# What launch/tpu.py does on a host of a slice, in the folder where the code was unpacked:
#   prepare         ends what an earlier start left, then installs
#   start WORDS...  starts `emojax`, on its own, so that the run outlives the connection; nothing where it runs already
#   follow          shows the log until the run ends
#   ask             prints `running`, or the exit code, or `none`
# ssh that breaks is tried again by gcloud: each of them may run twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$HOME/.local/bin:$PATH"

running() { [ -s pid ] && kill -0 -- "-$(cat pid)" 2>/dev/null; }

prepare() {
    if running; then
        kill -TERM -- "-$(cat pid)" || true
        for _ in $(seq 120); do running || break; sleep 1; done
        if running; then kill -KILL -- "-$(cat pid)" || true; fi
    fi
    rm -f pid exit
    command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh # the images' own Python is too old
    uv venv --quiet --allow-existing --python 3.12 .venv
    uv pip install --quiet --python .venv '.[tpu]'
}

# A process group of its own: SIGTERM, ours or that of a machine that goes down, reaches emojax, which saves and exits 75;
# the shell around it only notes the exit code.
start() {
    if running; then return; fi
    rm -f exit
    # shellcheck disable=SC2016  # the inner shell expands them
    setsid bash -c 'trap : TERM HUP; "$@"; echo $? >exit.new; mv exit.new exit' -- \
        ".venv/bin/$1" "${@:2}" >>log 2>&1 </dev/null &
    echo $! >pid
}

follow() { tail -n 100 --pid="$(cat pid)" -F log 2>/dev/null || true; }

ask() { if running; then echo running; elif [ -s exit ]; then cat exit; else echo none; fi; }

"$@"
