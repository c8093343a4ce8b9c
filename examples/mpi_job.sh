#!/bin/bash
# A Slurm job of two nodes with four ranks each:  sbatch examples/mpi_job.sh DATA TARGET
#
# Each rank opens its share of the rows and trains with the cores of one task (SLURM_CPUS_PER_TASK); the model
# does not depend on how many there are. Submit it from the folder above examples/; DATA must lie where every
# node sees it.
#SBATCH --job-name=hpcml
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=00:30:00
#SBATCH --output=hpcml-%j.log
set -euo pipefail

data=$1 target=$2

# The MPI of the cluster, and mpi4py built for it:
#   module load openmpi && python -m venv venv && venv/bin/pip install --no-binary mpi4py mpi4py && venv/bin/pip install hpcml
# Launcher and library must be of one MPI. If they are not, hpcml says so and names both; `srun --mpi=list`
# shows what Slurm can launch (pmix for Open MPI 5, pmi2 for MPICH).
if [ -f venv/bin/activate ]; then . venv/bin/activate; fi

# Since Slurm 22.05 a step does not take over the job's cores of a task unless told.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

# If one rank fails, end them all; hpcml's ranks end together anyway.
srun --kill-on-bad-exit=1 ${HPCML_SRUN_OPTIONS:-} \
    python examples/mpi_logistic.py "$data" --target "$target" --save "model-${SLURM_JOB_ID:-0}.joblib"
