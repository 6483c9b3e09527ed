"""Reference MD on held-out structures: the yardstick of every later evaluation.

reads   plan.yaml:reference_calc  config.yaml  ../../structures  ../../protocols
writes  reference_calc/runs/{structure}.h5  labelled trajectory of every structure
        reference_calc/result.yaml          ranges of density, energy and minimum distance
"""


rule reference_md:
    """Reference MD of the structures of one pack; what is on disk is not run again."""
    input:
        config=ancient("config.yaml"),
    output:
        "reference_calc/packs/{pack}.json",
    log:
        "logs/reference_calc/{pack}.log",
    resources:
        mpi="",
    params:
        share=lookup(dpath="{pack}", within=JOBS.packs["reference_calc"]),
        ensemble=lookup(dpath="reference_calc/ensemble", within=JOBS.plan, default=None),
        temperature=lookup(
            dpath="reference_calc/temperature", within=JOBS.plan, default=None
        ),
        steps=lookup(dpath="reference_calc/steps", within=JOBS.plan, default=None),
        interval=lookup(dpath="reference_calc/interval", within=JOBS.plan, default=None),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/reference_calc.py run --items {params.share:q}"
        " --ensemble {params.ensemble} --temperature {params.temperature}"
        " --steps {params.steps} --interval {params.interval} --output {output:q} 2> {log:q}"


rule reference_calc:
    """Ranges of all structures, kept as gates for sampling and labelling."""
    input:
        JOBS.files("reference_calc"),
    output:
        "reference_calc/result.yaml",
    log:
        "logs/reference_calc/result.log",
    params:
        temperature=lookup(
            dpath="reference_calc/temperature", within=JOBS.plan, default=None
        ),
    shell:
        "python $SCRIPTS/reference_calc.py collect --temperature {params.temperature}"
        " --output {output:q} {input:q} 2> {log:q}"
