"""Structures relaxed and warmed by the reference, once each, by the first action that uses them.

reads   plan.yaml  config.yaml  ../../structures
writes  settle/chunks/{chunk}.json           which structures a job has dealt with
        settle/runs/{structure}.h5           labelled frames on the way; MD starts from the last
        settle/runs/{structure}.report.json  crystal or packing, densities, energy given off
"""


rule settle:
    """The structures of one chunk; what is on disk is not settled again."""
    input:
        config=ancient("config.yaml"),
    output:
        "settle/chunks/{chunk}.json",
    log:
        "logs/settle/{chunk}.log",
    resources:
        mpi="",
    params:
        chunk=lookup(dpath="{chunk}", within=JOBS.chunks["settle"]),
        launch=launch,
    shell:
        "{params.launch} python $SCRIPTS/settle.py --items {params.chunk:q}"
        " --output {output:q} 2> {log:q}"
