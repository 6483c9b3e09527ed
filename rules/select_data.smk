"""Which sampled snapshots get a label, and the labels.

reads   plan.yaml:select_data  config.yaml  ../NNN/sample/runs  ../NNN/train/model.almtp
writes  select_data/chosen.h5            what is to be labelled, in the order it was chosen
        select_data/gate.json            candidates and rejections per subsystem
        select_data/chunks/{chunk}.json  which items a job has dealt with
        select_data/labels/{n}.h5        one file a label (an item's file); {n}.failed.json is its
                                         quarantine; n is the place in the choice and a digest of
                                         the frame
        select_data/dataset.h5           the labels that came, maybe none
        select_data/result.yaml          candidates, rejections, reference calls and labels
"""


rule choose:
    """Sanity gate, then all, MaxVol by grade, or (ranked after labelling) everything."""
    input:
        config=ancient("config.yaml"),
        model=JOBS.model,
        state=JOBS.previous,
    output:
        chosen="select_data/chosen.h5",
        gate="select_data/gate.json",
    log:
        "logs/select_data/choose.log",
    resources:
        mpi="",
    params:
        plan=lookup(dpath="select_data", within=JOBS.sections),
    shell:
        "python $SCRIPTS/select_data.py choose --plan {params.plan:q} --state {input.state:q}"
        " --chosen {output.chosen:q} --gate {output.gate:q} 2> {log:q}"


rule label:
    """Reference calls for one chunk; a label on disk is never paid for again."""
    input:
        config=ancient("config.yaml"),
        chosen="select_data/chosen.h5",
    output:
        "select_data/chunks/{chunk}.json",
    log:
        "logs/select_data/label-{chunk}.log",
    resources:
        mpi="",
    params:
        chunk=lookup(dpath="{chunk}", within=JOBS.chunks["select_data"]),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/select_data.py label --items {params.chunk:q}"
        " --chosen {input.chosen:q} --output {output:q} 2> {log:q}"


rule select_data:
    """The data set and the bill; a failed label is quarantined with its class."""
    input:
        chunks=JOBS.chunk_files("select_data"),
        chosen="select_data/chosen.h5",
        gate="select_data/gate.json",
        model=JOBS.model,
    output:
        dataset="select_data/dataset.h5",
        result="select_data/result.yaml",
    log:
        "logs/select_data/result.log",
    localrule: True
    params:
        plan=lookup(dpath="select_data", within=JOBS.sections),
        iteration=JOBS.iteration,
    shell:
        "python $SCRIPTS/select_data.py collect --plan {params.plan:q}"
        " --iteration {params.iteration} --chosen {input.chosen:q} --gate {input.gate:q}"
        " --dataset-file {output.dataset:q} --output {output.result:q} 2> {log:q}"
