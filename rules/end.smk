"""The verdict against the targets, the potential and its papers.

reads   plan.yaml:end  every finalized iteration
writes  end/result.yaml  the verdict as code found it
        end/result/      potential, model card, report.html; once the iteration is closed a copy of
                         it is the campaign's result/, where the links of the report hold
"""


rule end:
    """Hold the evaluations against the targets, hand over the model, write the report."""
    input:
        state=JOBS.previous,
        model=JOBS.model,
    output:
        result="end/result.yaml",
        papers=directory("end/result"),
    log:
        "logs/end/result.log",
    localrule: True
    params:
        plan=lookup(dpath="end", within=JOBS.sections),
    shell:
        "python $SCRIPTS/end.py --plan {params.plan:q} --state {input.state:q}"
        " --papers {output.papers:q} --output {output.result:q} 2> {log:q}"
