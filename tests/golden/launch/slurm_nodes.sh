cat > run1.sbatch <<'END'
#!/bin/bash
# Written by launch/slurm.py. Exit codes of emojax: 0 done, 2 a user's error, 75 stopped with a complete checkpoint.
#SBATCH --job-name=run1
#SBATCH --nodes=16
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=8:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@300
#SBATCH --open-mode=append
#SBATCH --output=/data/logs/%x-%j.log
#SBATCH --partition=gpu
#SBATCH --account=lab

# --gpus-per-node and no --gpus-per-task: JAX reads SLURM's variables, and wants each process to see all GPUs of its
# node, of which it takes the one of its rank there. --signal reaches the processes, not this shell.
set -uo pipefail
source /data/venv/bin/activate

# SLURM signals this shell only where it ends the job itself (scancel, preemption, the limit); then it also says what
# comes next. A handler, not `trap ''`: what is ignored would be ignored by srun too.
ended=
trap 'ended=1' TERM

# Not --kill-on-bad-exit: who is a moment ahead would end those that still save. JAX ends the others of a lost process.
srun --kill-on-bad-exit=0 --cpus-per-task=8 --open-mode=append \
    --output=/data/logs/%x-%j-%N.log \
    emojax train --config base --out /data/run1 --set 'data.manifest=/data/a b.jsonl' --resume --processes 128
code=$?

crashes=/data/logs/run1-$SLURM_JOB_ID.crashes
case $code in
    0 | 2) exit $code ;;
    75) ;;
    *) echo "$(date -Is) exit code $code" >>"$crashes" ;;
esac
if [ -n "$ended" ]; then exit $code; fi
if [ -s "$crashes" ] && [ "$(wc -l <"$crashes")" -gt 2 ]; then
    echo "given up: 2 restarts are allowed, the crashes are in $crashes" >&2
    exit $code
fi
scontrol requeue "$SLURM_JOB_ID"
END
mkdir -p /data/logs
sbatch run1.sbatch
