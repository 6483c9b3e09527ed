"""What later trainings leave out; reversible, nothing is deleted.

reads   plan.yaml:prune
writes  prune/result.yaml
"""


rule prune:
    """Models rolled back, data sets set aside, outliers left out; or taken back in."""
    output:
        "prune/result.yaml",
    log:
        "logs/prune/result.log",
    localrule: True
    params:
        plan=lookup(dpath="prune", within=JOBS.sections),
    shell:
        "python $SCRIPTS/prune.py --plan {params.plan:q} --output {output:q} 2> {log:q}"
