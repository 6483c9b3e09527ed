"""A real SLURM of several nodes on one host without systemd: `python -m tests.slurm.lab start`.

start [FOLDER]   munge, MariaDB, slurmdbd, slurmctld, slurmd; prints the line to source
stop  FOLDER     cancels every job, ends the daemons it started, removes FOLDER

SLURM_LAB_NODES, _CPUS and _MEMORY (MB) of a node, _PORT (the first of 20 + nodes, free
ones by default), _LIMIT (cgroup where version 1 is mounted and we are root, else poll).
"""

import getpass
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from tests.slurm import configuration

ACCOUNT = "lab"
PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sacct")


class LabError(Exception):
    """Why there is no SLURM here, in one line."""


@dataclass(frozen=True)
class Lab:
    """The daemons that live in one folder; the folder alone is enough to find them again."""

    folder: Path

    @cached_property
    def settings(self) -> dict[str, str]:
        """What `start` was told, kept in the folder."""
        return json.loads((self.folder / "lab.json").read_text())

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes."""
        return [f"{self.settings['prefix']}{i + 1}" for i in range(int(self.settings["nodes"]))]

    @property
    def environment(self) -> dict[str, str]:
        """What a user of this cluster has in the environment."""
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def start(self) -> None:
        """Start every daemon, each once the one below it answers."""
        host = socket.gethostname().split(".")[0]
        self._write_configuration(host)
        self._spawn("munged", *self._munged())
        self.until((self.folder / "munge.socket").exists)
        self._database()
        self.accounting()
        cluster = [f"cluster {self.settings['cluster']}", f"account {ACCOUNT} Description=lab"]
        cluster.append(f"user {self.settings['user']} DefaultAccount={ACCOUNT} AdminLevel=Admin")
        for entity in cluster:
            self.tell("sacctmgr", "-i", "add", *entity.split())
        self.controller()
        for node in self.nodes:
            self.node(node)
        self.until(lambda: set(self.tell("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"})

    def _write_configuration(self, host: str) -> None:
        count = int(os.environ.get("SLURM_LAB_NODES", "4"))
        port = int(os.environ.get("SLURM_LAB_PORT") or configuration.free_ports(count))
        groups = Path("/sys/fs/cgroup/memory/cgroup.procs").exists() and os.geteuid() == 0
        limit = os.environ.get("SLURM_LAB_LIMIT") or ("cgroup" if groups else "poll")
        prefix = f"n{port}x"  # control groups go by name of node and job: no two labs share one
        lines = [
            f"NodeName={prefix}{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + 20 + i}"
            for i in range(1, count + 1)
        ]
        values = {
            "folder": str(self.folder),
            "host": host,
            "user": getpass.getuser(),
            "cluster": "lab",
            "nodes": str(count),
            "limit": limit,
            "prefix": prefix,
            "firm": str(max(1, count // 2)),
            "weak": str(count // 2 + 1),
            "port": str(port),
            "dbd_port": str(port + 1),
            "sql_port": str(port + 2),
            "cpus": os.environ.get("SLURM_LAB_CPUS", "8"),
            "memory": os.environ.get("SLURM_LAB_MEMORY", "4000"),
            "password": secrets.token_hex(8),
        }
        spools = [f"tmp/{prefix}{i + 1}" for i in range(count)]
        for name in ("state", "spool", "log", "tmp", "sql", *spools):
            (self.folder / name).mkdir(mode=0o755, exist_ok=True)
        limits = configuration.BY_CGROUP if limit == "cgroup" else configuration.BY_POLL
        files = {
            "slurm.conf": configuration.SLURM_CONF.format_map(
                {**values, "limits": limits, "nodes_count": count, "nodes": "\n".join(lines)}
            ),
            "cgroup.conf": configuration.CGROUP_CONF,
            "slurmdbd.conf": configuration.DBD_CONF.format_map(values),
            "lab.json": json.dumps(values),
        }
        for name, text in files.items():
            (self.folder / name).touch(mode=0o600 if "dbd" in name or "json" in name else 0o644)
            (self.folder / name).write_text(text)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))

    def _munged(self) -> list[str]:
        names = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid"}
        names |= {"log-file": "log/munged.log", "seed-file": "munge.seed"}
        return ["--foreground", "--force", *(f"--{k}={self.folder / v}" for k, v in names.items())]

    def _database(self) -> None:
        data, port, user = self.folder / "sql", self.settings["sql_port"], self.settings["user"]
        own = ["--no-defaults", f"--datadir={data}", f"--user={user}"]
        self.tell(
            "mariadb-install-db",
            *own,
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        endpoint = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={data}/socket"]
        small = ["--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"]
        self._spawn("mariadbd", *own, *endpoint, *small)
        grant = (
            "CREATE DATABASE slurm_acct; GRANT ALL ON slurm_acct.* TO slurm@'127.0.0.1'"
            f" IDENTIFIED BY '{self.settings['password']}', slurm@localhost"
            f" IDENTIFIED BY '{self.settings['password']}';"
        )
        client = ["mariadb", "--no-defaults", f"--socket={data}/socket", "-u", "root", "-e"]
        self.until(lambda: self._answers(*client, "SELECT 1"))
        self.tell(*client, grant)

    def accounting(self, up: bool = True) -> None:
        """Start slurmdbd and wait until it answers, or stop it."""
        if not up:
            return self._end("slurmdbd")
        self._spawn("slurmdbd", "-D")
        return self.until(lambda: self._answers("sacctmgr", "-n", "list", "cluster"))

    def controller(self, up: bool = True, how: signal.Signals = signal.SIGTERM) -> None:
        """Start slurmctld with the state it left, or end it."""
        if not up:
            return self._end("slurmctld", how)
        self._spawn("slurmctld", "-D")
        return self.until(lambda: self._answers("scontrol", "ping"))

    def node(self, name: str, up: bool = True, jobs: bool = False) -> None:
        """Start a node's slurmd, or end it: as a power cut would, or sparing its `jobs`."""
        if up:
            return self._spawn(f"slurmd.{name}", "-D", "-N", name)
        self._end(f"slurmd.{name}", signal.SIGKILL)
        if jobs:
            return None
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                here = process.environ().get("SLURMD_NODENAME") == name and self._owns(process)
                if here or self._serves(process, name):
                    process.kill()
        return None

    def _owns(self, process: psutil.Process) -> bool:
        """Whether a process stems from one of this lab's jobs."""
        known = process.environ()
        conf = str(self.folder / "slurm.conf")
        return conf in (known.get("SLURM_CONF"), known.get("MTPILOT_SLURM_CONF"))

    def _serves(self, step: psutil.Process, node: str) -> bool:
        """Whether a slurmstepd is this node's: it keeps its socket in the node's spool folder."""
        job = re.match(r"slurmstepd: \[(\d+)\.", " ".join(step.cmdline()))
        spool = self.folder / "spool" / node
        return job is not None and any(spool.glob(f"{node}_{job[1]}.*"))

    def resume(self) -> None:
        """Put drained nodes back to work: SLURM drains one whose killed job was slow to die."""
        for line in set(self.tell("sinfo", "-h", "-N", "-o", "%N %T %E").splitlines()):
            node, state, reason = line.split(maxsplit=2)
            if "drain" in state:
                sys.stdout.write(f"{node} was {state}: {reason}\n")
                self.tell("scontrol", "update", f"NodeName={node}", "State=RESUME")
        states = ("sinfo", "-h", "-N", "-o", "%T")
        self.until(lambda: not re.search("down|drain|[*]", self.tell(*states)))

    def stop(self) -> None:
        """Cancel all jobs, end all daemons, remove the folder."""
        if self._answers("scancel", "--user", self.settings["user"]):
            self.until(lambda: not self.tell("squeue", "-h", "-o", "%i"), 20, strict=False)
        for path in sorted((self.folder / "pids").glob("*"), key=_rank):
            self._end(path.name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def until(self, done: Callable[[], object], seconds: float = 60, strict: bool = True) -> None:
        """Wait for a condition; LabError with the last words of the logs when it does not come."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                if not strict:
                    return
                logs = sorted((self.folder / "log").glob("*.log"), key=lambda p: p.stat().st_mtime)
                words = [p.read_text(errors="replace").strip()[-300:] for p in logs[-2:]]
                raise LabError(f"{self.folder}: SLURM did not get ready: {' | '.join(words)}")
            time.sleep(0.2)

    def tell(self, *words: str) -> str:
        """Run one command of this cluster's user; its output."""
        try:
            done = subprocess.run(
                words,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        except subprocess.TimeoutExpired:  # so that `stop` goes on to the daemons
            raise LabError(f"{words[0]}: no answer within 120 s") from None
        if done.returncode:
            raise LabError(f"{' '.join(words[:4])}: {(done.stderr or done.stdout).strip()[-500:]}")
        return done.stdout

    def _answers(self, *words: str) -> bool:
        try:
            self.tell(*words)
        except LabError:
            return False
        return True

    def _spawn(self, name: str, *words: str) -> None:
        program = name.partition(".")[0]
        log = self.folder / "log" / f"{name}.out"
        with log.open("ab") as out:
            child = subprocess.Popen(
                [program, *words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        pids = self.folder / "pids"
        pids.mkdir(exist_ok=True)
        (pids / name).write_text(str(child.pid))

    def _end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        path = self.folder / "pids" / name
        if not path.exists():
            return
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(path.read_text()))
            process.send_signal(how)
            self.until(lambda: _ended(process), 20, strict=False)
            process.kill()
        path.unlink()


def _ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE  # init may be slow to collect it
    except psutil.NoSuchProcess:
        return True


def _rank(path: Path) -> int:
    order = ("slurmd.", "slurmctld", "slurmdbd", "mariadbd", "munged")
    return next(i for i, name in enumerate(order) if path.name.startswith(name))


def missing() -> list[str]:
    """Programs of SLURM that are not installed."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def start(folder: Path) -> Lab:
    """Bring up a SLURM in `folder`; LabError when programs are missing or it does not get ready."""
    if absent := missing():
        raise LabError(f"not installed: {', '.join(absent)}")
    folder.mkdir(parents=True, exist_ok=True)
    lab = Lab(folder.resolve())
    try:
        lab.start()
    except BaseException:
        lab.stop()
        raise
    return lab


def main(words: list[str]) -> int:
    """Start or stop from the command line."""
    try:
        if words[:1] == ["start"] and len(words) <= 2:
            began = time.monotonic()
            lab = start(Path(words[1] if words[1:] else tempfile.mkdtemp(prefix="slurm-lab-")))
            ready = f"ready after {time.monotonic() - began:.0f} s; stop {lab.folder}"
            print(f"export SLURM_CONF={lab.folder}/slurm.conf  # {ready}")
        elif words[:1] == ["stop"] and len(words) == 2:
            Lab(Path(words[1]).resolve()).stop()
        else:
            sys.stderr.write("python -m tests.slurm.lab start [FOLDER] | stop FOLDER\n")
            return 2
    except (LabError, OSError) as error:
        sys.stderr.write(f"slurm lab: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
