"""Fit of the potential to the labels, through the `mlp` command line under MPI.

reads   plan.yaml:train  config.yaml  ../NNN/{sample,select_data}/dataset.h5  the parent model
writes  train/train.cfg train/start.almtp   what `mlp train` is given
        train/estimate.json train/time.json how long it may take, how long it took
        train/model.almtp train/train.log   what it gave, with the MaxVol active set
        train/fit.json                      ok, or the class of the refusal
        train/result.yaml                   errors per subsystem, outliers
"""


rule train_inputs:
    """Active frames without the pruned ones; minimum distance; estimate of the training time."""
    input:
        config=ancient("config.yaml"),
        state=JOBS.previous,
    output:
        data="train/train.cfg",
        frames="train/frames.json",
        estimate="train/estimate.json",
    log:
        "logs/train/inputs.log",
    resources:
        mpi="",
    params:
        plan=lookup(dpath="train", within=JOBS.leaves),
    shell:
        "python $SCRIPTS/train.py inputs --plan {params.plan:q} --state '{input.state}'"
        " --data {output.data:q} --frames {output.frames:q}"
        " --estimate {output.estimate:q} 2> {log:q}"


rule fit:
    """`mlp train`; a fit that diverges or gives NaN is refused, and the campaign goes on."""
    input:
        config=ancient("config.yaml"),
        data="train/train.cfg",
        estimate="train/estimate.json",
        parent=JOBS.model,
    output:
        "train/fit.json",
    log:
        "logs/train/fit.log",
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
    params:
        start=lookup(dpath="train/start", within=JOBS.plan, default=None),
        effort=lookup(dpath="train/effort", within=JOBS.plan, default=None),
        seed=lookup(dpath="train/seed", within=JOBS.plan, default=None),
        launch=launch,
    shell:
        "python $SCRIPTS/train.py fit --launcher {params.launch:q}"
        " --data {input.data:q} --parent '{input.parent}' --start {params.start}"
        " --effort {params.effort} --seed {params.seed} --estimate {input.estimate:q}"
        " --output {output:q} 2> {log:q}"


rule train:
    """Errors per subsystem on train and held-out frames; robust outliers."""
    input:
        fit="train/fit.json",
        data="train/train.cfg",
        frames="train/frames.json",
        state=JOBS.previous,
    output:
        "train/result.yaml",
    log:
        "logs/train/result.log",
    resources:
        mpi="",
    params:
        plan=lookup(dpath="train", within=JOBS.leaves),
        iteration=lookup(dpath="iteration", within=JOBS.plan, default=None),
    shell:
        "python $SCRIPTS/train.py collect --plan {params.plan:q} --iteration {params.iteration}"
        " --state '{input.state}' --fit {input.fit:q} --data {input.data:q}"
        " --frames {input.frames:q} --output {output:q} 2> {log:q}"
