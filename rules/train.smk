"""Fit of the potential to the labels, through the `mlp` command line under MPI.

reads   plan.yaml:train  config.yaml  ../NNN/{sample,select_data}/dataset.h5  the parent model
writes  train/train.cfg train/frames.json   what `mlp train` is given, and which frame is which
        train/estimate.json train/time.json how long it may take, how long it took
        train/model.almtp                   what it gave, with the MaxVol active set; where the fit
                                            was refused a line that says so
        train/model.almtp.core              the repulsion under it, with mlp.zbl
        train/fit.json                      ok, or the class of the refusal
        train/start.almtp train/train.log   where it began, what it said
        train/refusal.txt                   why it was refused, where it was
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
        plan=lookup(dpath="train", within=JOBS.sections),
    shell:
        "python $SCRIPTS/train.py inputs --plan {params.plan:q} --state {input.state:q}"
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
        model="train/model.almtp",
        report="train/fit.json",
        time="train/time.json",
    log:
        "logs/train/fit.log",
    threads: 2
    resources:
        mpi="mpiexec",
        tasks=2,
    params:
        plan=lookup(dpath="train", within=JOBS.sections),
        launch=launch,
    shell:
        "python $SCRIPTS/train.py fit --plan {params.plan:q} --launcher {params.launch:q}"
        " --data {input.data:q} --estimate {input.estimate:q} --parent {input.parent:q}"
        " --model {output.model:q} --report {output.report:q} 2> {log:q}"


rule train:
    """Errors per subsystem on train and held-out frames; robust outliers."""
    input:
        report="train/fit.json",
        model="train/model.almtp",
        frames="train/frames.json",
        state=JOBS.previous,
    output:
        "train/result.yaml",
    log:
        "logs/train/result.log",
    resources:
        mpi="",
    params:
        plan=lookup(dpath="train", within=JOBS.sections),
        iteration=JOBS.iteration,
    shell:
        "python $SCRIPTS/train.py collect --plan {params.plan:q} --iteration {params.iteration}"
        " --state {input.state:q} --report {input.report:q} --model {input.model:q}"
        " --frames {input.frames:q} --output {output:q} 2> {log:q}"
