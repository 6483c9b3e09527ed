"""New configurations from MD with the reference (labels included) or with a model.

reads   plan.yaml:sample  config.yaml  ../../structures  ../../protocols  ../NNN/train/model.almtp
writes  sample/chunks/{chunk}.json  which items a job has dealt with
        sample/runs/{run}.h5        snapshots of one MD, protocol, compression series or rattle (an
                                    item's file)
        sample/dataset.h5           all of them; only where the reference made them
        sample/result.yaml          runs, early stops by class and snapshots per subsystem
"""


rule sample_md:
    """The runs of one chunk, each under the watchdog; what is on disk is not run again."""
    input:
        config=ancient("config.yaml"),
        settled=JOBS.chunk_files("settle"),
        model=JOBS.model,
        state=JOBS.previous,
    output:
        "sample/chunks/{chunk}.json",
    log:
        "logs/sample/{chunk}.log",
    resources:
        mpi="",
    params:
        plan=lookup(dpath="sample", within=JOBS.sections),
        chunk=lookup(dpath="{chunk}", within=JOBS.chunks["sample"]),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/sample.py run --plan {params.plan:q}"
        " --items {params.chunk:q} --state {input.state:q} --model {input.model:q}"
        " --output {output:q} 2> {log:q}"


rule sample:
    """Counts per subsystem; snapshots of the reference become a data set."""
    input:
        JOBS.chunk_files("sample"),
    output:
        dataset=JOBS.datasets["sample"],
        result="sample/result.yaml",
    log:
        "logs/sample/result.log",
    localrule: True
    params:
        plan=lookup(dpath="sample", within=JOBS.sections),
        iteration=JOBS.iteration,
    shell:
        "python $SCRIPTS/sample.py collect --plan {params.plan:q} --iteration {params.iteration}"
        " --chunks {input:q} --dataset-file {output.dataset:q} --output {output.result:q} 2> {log:q}"
