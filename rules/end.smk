"""The verdict against the targets, the potential and its papers.

reads   plan.yaml:end  every sealed iteration
writes  end/result.yaml      the verdict as code found it
        ../../result/        potential, model card, report.html
"""


rule end:
    """Hold the evaluations against the targets, hand over the model, write the report."""
    input:
        state=JOBS.previous,
    output:
        "end/result.yaml",
    log:
        "logs/end/result.log",
    params:
        plan=lookup(dpath="end", within=JOBS.leaves),
    shell:
        "python $SCRIPTS/end.py --plan {params.plan:q} --state '{input.state}'"
        " --output {output:q} 2> {log:q}"
