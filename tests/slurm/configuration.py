"""Configuration files of the lab: several nodes on one host, short delays."""

import socket
from contextlib import suppress

SLURM_CONF = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
SlurmctldPort={port}
TmpFS={folder}/tmp/%n
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=5,bf_interval=10,sched_min_interval=100000
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=3
UnkillableStepTimeout=180
MinJobAge=300
MaxArraySize=10001
MaxJobCount=20000
MailProg=/bin/true
{limits}
NodeName=DEFAULT CPUs={cpus} RealMemory={memory} State=UNKNOWN
{nodes}
PartitionName=main Nodes={prefix}[1-{firm}] Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={prefix}[1-{firm}] MaxTime=5 State=UP
PartitionName=fragile Nodes={prefix}[{weak}-{nodes_count}] MaxTime=60 State=UP
"""
BY_CGROUP = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup"""
BY_POLL = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill"""
CGROUP_CONF = """\
CgroupPlugin=cgroup/v1
CgroupAutomount=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
"""
DBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser={user}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct
"""


def free_ports(nodes: int) -> int:
    """The first of a row of ports that nobody has: two labs may run on one host."""
    for first in range(17000, 30000, 100):
        with suppress(OSError):
            for port in (*range(first, first + 3), *range(first + 21, first + 21 + nodes)):
                with socket.socket() as ours:
                    ours.bind(("127.0.0.1", port))
            return first
    raise OSError("no row of free ports between 17000 and 30000")
