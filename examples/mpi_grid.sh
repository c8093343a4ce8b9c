#!/bin/bash
# A Slurm job of two nodes with four ranks each:  sbatch examples/mpi_grid.sh DATA TARGET
#
# Rank 0 runs the script, and all eight ranks fit. When the time of the job is over, Slurm sends SIGTERM; the
# journal then holds every fit that was finished, and the same command, submitted again, does only what is left.
#SBATCH --job-name=hpcml-grid
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=02:00:00
#SBATCH --output=hpcml-grid-%j.log
set -euo pipefail

data=$1 target=$2

# The MPI of the cluster, and mpi4py built for it:
#   module load openmpi && python -m venv venv && venv/bin/pip install --no-binary mpi4py mpi4py && venv/bin/pip install hpcml
if [ -f venv/bin/activate ]; then . venv/bin/activate; fi

# Since Slurm 22.05 a step does not take over the job's cores of a task unless told.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}

srun --kill-on-bad-exit=1 ${HPCML_SRUN_OPTIONS:-} \
    python -m hpcml.farm examples/mpi_grid.py "$data" --target "$target" --journal grid.journal
