# Every job of the campaign on the cluster begins with this file: modules, licences, scratch.
# module load vasp/6.4
# export TMPDIR=/scratch/$USER
