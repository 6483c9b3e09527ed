"""Reference MD on held-out structures: the baseline of every later evaluation.

reads   plan.yaml:reference_calc  config.yaml  ../../structures  ../../protocols
writes  reference_calc/chunks/{chunk}.json  which items a job has dealt with
        reference_calc/runs/{structure}.h5  labelled trajectory of every structure (an item's file)
        reference_calc/runs/{structure}.properties.yaml, .curves.json  what else was measured of it
        reference_calc/result.yaml          ranges of density, energy and minimum distance
"""


rule reference_md:
    """Reference MD of the structures of one chunk; what is on disk is not run again."""
    input:
        config=ancient("config.yaml"),
        settled=JOBS.chunk_files("settle"),
    output:
        "reference_calc/chunks/{chunk}.json",
    log:
        "logs/reference_calc/{chunk}.log",
    resources:
        mpi="",
    params:
        plan=lookup(dpath="reference_calc", within=JOBS.sections),
        chunk=lookup(dpath="{chunk}", within=JOBS.chunks["reference_calc"]),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/reference_calc.py run --plan {params.plan:q}"
        " --items {params.chunk:q} --output {output:q} 2> {log:q}"


rule reference_calc:
    """Ranges of all structures, kept as gates for sampling and labelling."""
    input:
        JOBS.chunk_files("reference_calc"),
    output:
        "reference_calc/result.yaml",
    log:
        "logs/reference_calc/result.log",
    localrule: True
    params:
        plan=lookup(dpath="reference_calc", within=JOBS.sections),
    shell:
        "python $SCRIPTS/reference_calc.py collect --plan {params.plan:q}"
        " --chunks {input:q} --output {output:q} 2> {log:q}"
