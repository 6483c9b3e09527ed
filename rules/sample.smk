"""New configurations from MD with the reference (labels included) or with a model.

reads   plan.yaml:sample  config.yaml  ../../structures  ../../protocols  ../NNN/train/model.almtp
writes  sample/runs/{run}.h5       snapshots of one MD, protocol, compression series or rattle
        sample/dataset.h5          all of them, when the reference made them
        sample/result.yaml         runs, early stops by class and snapshots per subsystem
"""


rule sample_md:
    """The runs of one pack, each under the watchdog; what is on disk is not run again."""
    input:
        config=ancient("config.yaml"),
        model=JOBS.model,
        state=JOBS.previous,
    output:
        "sample/packs/{pack}.json",
    log:
        "logs/sample/{pack}.log",
    resources:
        mpi="",
    params:
        share=lookup(dpath="{pack}", within=JOBS.packs["sample"]),
        method=lookup(dpath="sample/method", within=JOBS.plan, default=None),
        steps=lookup(dpath="sample/steps", within=JOBS.plan, default=None),
        interval=lookup(dpath="sample/interval", within=JOBS.plan, default=None),
        compression=lookup(dpath="sample/compression", within=JOBS.plan, default=[]),
        rattle=lookup(dpath="sample/rattle", within=JOBS.plan, default=None),
        amplitude=lookup(dpath="sample/amplitude", within=JOBS.plan, default=None),
        relax_steps=lookup(dpath="sample/relax_steps", within=JOBS.plan, default=None),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/sample.py run --items {params.share:q}"
        " --method {params.method} --steps {params.steps} --interval {params.interval}"
        " --compression {params.compression} --rattle {params.rattle}"
        " --amplitude {params.amplitude} --relax-steps {params.relax_steps}"
        " --state '{input.state}' --model '{input.model}' --output {output:q} 2> {log:q}"


rule sample:
    """Counts per subsystem; snapshots of the reference become a data set."""
    input:
        JOBS.files("sample"),
    output:
        "sample/result.yaml",
    log:
        "logs/sample/result.log",
    params:
        method=lookup(dpath="sample/method", within=JOBS.plan, default=None),
        model=lookup(dpath="sample/model", within=JOBS.plan, default=None),
        iteration=lookup(dpath="iteration", within=JOBS.plan, default=None),
    shell:
        "python $SCRIPTS/sample.py collect --method {params.method} --model {params.model}"
        " --iteration {params.iteration} --output {output:q} {input:q} 2> {log:q}"
