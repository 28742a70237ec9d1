#!/bin/bash
# Slurm: sbatch slurm_many_gpus.sh, in a folder on a disk that all machines see, beside
# many_machines.sh. Queued again, by hand or after a machine failed, the run goes on.
#SBATCH --job-name=zebras
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu
# at --signal, two minutes before the end, all processes save what they have and leave
HOST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export NODES=$SLURM_NNODES PROCESSES=8 RUN=$SLURM_JOB_NAME
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / PROCESSES))
srun sh many_machines.sh "$HOST:29500" --dataset horse2zebra --ratio 0.25 --batch-size 64 \
    --out runs/zebras --workers 4 --checkpoint-every 500 --rank-timeout 600
