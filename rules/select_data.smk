"""Which sampled snapshots get a label, and the labels.

reads   plan.yaml:select_data  config.yaml  ../NNN/sample/runs  ../NNN/train/model.almtp
writes  select_data/chosen.h5         what is to be labelled, in the order it was chosen
        select_data/labels/{n}.h5     one file a label; {n}.failed.json is its quarantine;
                                      n is the place in the choice and a digest of the frame
        select_data/dataset.h5        the labels that came
        select_data/result.yaml       candidates, rejections, reference calls and labels
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
        plan=lookup(dpath="select_data", within=JOBS.leaves),
    shell:
        "python $SCRIPTS/select_data.py choose --plan {params.plan:q} --state '{input.state}'"
        " --model '{input.model}' --chosen {output.chosen:q} --gate {output.gate:q} 2> {log:q}"


rule label:
    """Reference calls for one pack; a label on disk is never bought again."""
    input:
        config=ancient("config.yaml"),
        chosen="select_data/chosen.h5",
    output:
        "select_data/packs/{pack}.json",
    log:
        "logs/select_data/label-{pack}.log",
    resources:
        mpi="",
    params:
        share=lookup(dpath="{pack}", within=JOBS.packs["select_data"]),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/select_data.py label --items {params.share:q}"
        " --chosen {input.chosen:q} --output {output:q} 2> {log:q}"


rule select_data:
    """The data set and the bill; a failed label is quarantined with its class."""
    input:
        packs=JOBS.files("select_data"),
        chosen="select_data/chosen.h5",
        gate="select_data/gate.json",
        model=JOBS.model,
    output:
        "select_data/result.yaml",
    log:
        "logs/select_data/result.log",
    params:
        plan=lookup(dpath="select_data", within=JOBS.leaves),
        iteration=lookup(dpath="iteration", within=JOBS.plan, default=None),
    shell:
        "python $SCRIPTS/select_data.py collect --plan {params.plan:q}"
        " --iteration {params.iteration} --chosen {input.chosen:q} --gate {input.gate:q}"
        " --model '{input.model}' --output {output:q} 2> {log:q}"
