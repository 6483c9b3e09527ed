"""MD with a model on held-out structures against the reference trajectories.

reads   plan.yaml:model_eval  config.yaml  ../../protocols  the model  ../NNN/reference_calc/runs
writes  model_eval/runs/{structure}.h5           trajectory of the model
        model_eval/runs/{structure}.fresh.h5     its snapshots with reference labels
        model_eval/{structure}/observables.json  density, RDF, MSD, parity: model and reference
        model_eval/{structure}/*.svg             plots of them
        model_eval/result.yaml                   numbers per structure
"""


rule evaluate:
    """The structures of one pack."""
    input:
        config=ancient("config.yaml"),
        model=JOBS.model,
        state=JOBS.previous,
    output:
        "model_eval/packs/{pack}.json",
    log:
        "logs/model_eval/{pack}.log",
    resources:
        mpi="",
    params:
        share=lookup(dpath="{pack}", within=JOBS.packs["model_eval"]),
        temperature=lookup(
            dpath="model_eval/temperature", within=JOBS.plan, default=None
        ),
        steps=lookup(dpath="model_eval/steps", within=JOBS.plan, default=None),
        interval=lookup(dpath="model_eval/interval", within=JOBS.plan, default=None),
        fresh=lookup(dpath="model_eval/fresh_frames", within=JOBS.plan, default=None),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/model_eval.py run --items {params.share:q}"
        " --temperature {params.temperature} --steps {params.steps} --interval {params.interval}"
        " --fresh-frames {params.fresh} --state '{input.state}' --model {input.model:q}"
        " --output {output:q} 2> {log:q}"


rule model_eval:
    """Numbers per structure; whether they pass is for the state's fold to say."""
    input:
        JOBS.files("model_eval"),
    output:
        "model_eval/result.yaml",
    log:
        "logs/model_eval/result.log",
    params:
        model=lookup(dpath="model_eval/model", within=JOBS.plan, default=None),
        temperature=lookup(
            dpath="model_eval/temperature", within=JOBS.plan, default=None
        ),
    shell:
        "python $SCRIPTS/model_eval.py collect --model {params.model}"
        " --temperature {params.temperature} --output {output:q} {input:q} 2> {log:q}"
