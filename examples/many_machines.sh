#!/bin/sh
# On each machine of a run, at about the same time:
#
#   sh many_machines.sh HOST:29500 --dataset horse2zebra --batch-size 32 --out runs/zebras
#
# HOST is one of the machines, any free port of which the others can reach; the dataset and the run
# folder are on a disk that all of them see. NODES (2) is how many machines there are, PROCESSES (8)
# how many GPUs each has, RUN (zebras) a name of this run that no other on HOST has: started again
# under it, the run goes on.
set -eu
endpoint=$1
shift
# torchrun (of torch 2.14) else does not tell a machine that joins again where the others meet
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec torchrun --nnodes "${NODES:-2}" --nproc-per-node "${PROCESSES:-8}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-endpoint "$endpoint" --rdzv-id "${RUN:-zebras}" \
    -m gancomp distill "$@"
