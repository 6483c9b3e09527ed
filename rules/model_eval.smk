"""MD with a model on held-out structures against the reference trajectories.

reads   plan.yaml:model_eval  config.yaml  ../../protocols  the model  ../NNN/reference_calc/runs
writes  model_eval/chunks/{chunk}.json           which items a job has dealt with
        model_eval/runs/{structure}.h5           trajectory of the model (an item's files)
        model_eval/runs/{structure}.fresh.h5     its snapshots with reference labels
        model_eval/runs/{structure}.curves.json  of properties: equation of state, phonons
        model_eval/{structure}/observables.json  density, RDF, MSD, parity: model and reference
        model_eval/plots/{structure}-*.svg       plots of them
        model_eval/result.yaml                   numbers per structure
"""


rule evaluate:
    """The structures of one chunk."""
    input:
        config=ancient("config.yaml"),
        settled=JOBS.chunk_files("settle"),
        model=JOBS.model,
        state=JOBS.previous,
    output:
        "model_eval/chunks/{chunk}.json",
    log:
        "logs/model_eval/{chunk}.log",
    resources:
        mpi="",
    params:
        plan=lookup(dpath="model_eval", within=JOBS.sections),
        chunk=lookup(dpath="{chunk}", within=JOBS.chunks["model_eval"]),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/model_eval.py run --plan {params.plan:q}"
        " --items {params.chunk:q} --state {input.state:q} --model {input.model:q}"
        " --output {output:q} 2> {log:q}"


rule model_eval:
    """Numbers per structure; whether they pass is for the state's reduction to say."""
    input:
        JOBS.chunk_files("model_eval"),
    output:
        plots=directory("model_eval/plots"),
        result="model_eval/result.yaml",
    log:
        "logs/model_eval/result.log",
    localrule: True
    params:
        plan=lookup(dpath="model_eval", within=JOBS.sections),
    shell:
        "python $SCRIPTS/model_eval.py collect --plan {params.plan:q} --chunks {input:q}"
        " --plots {output.plots:q} --output {output.result:q} 2> {log:q}"
