"""Workers for trials as jobs of Slurm: python slurm.py, until Ctrl-C."""

import signal

from dask_jobqueue import SLURMCluster
from distributed.security import Security

TLS = "/home/audit/tls"


def workers(security: Security) -> SLURMCluster:
    """A scheduler on this host, and jobs of one worker each."""
    return SLURMCluster(
        # One trial at a time in each.
        cores=1,
        processes=1,
        memory="4GB",
        walltime="08:00:00",
        # What a trial answers may depend on the processor: a worker with other flags is refused.
        job_extra_directives=["--constraint=avx512vnni"],
        job_script_prologue=[
            "export OMP_NUM_THREADS=1",
            "export PTQ_PIPELINE_CACHE=/scratch/ptq-cache PTQ_PIPELINE_CACHE_GB=20",
            "source /home/audit/venv/bin/activate",
        ],
        protocol="tls://",
        security=security,
        scheduler_options={"port": 8786, "dashboard": False},
    )


if __name__ == "__main__":
    cluster = workers(
        Security(
            tls_ca_file=f"{TLS}/ca.pem",
            **{f"tls_{role}_cert": f"{TLS}/host.pem" for role in ("client", "scheduler", "worker")},
            **{f"tls_{role}_key": f"{TLS}/key.pem" for role in ("client", "scheduler", "worker")},
            require_encryption=True,
        )
    )
    cluster.adapt(minimum_jobs=0, maximum_jobs=200)
    print(cluster.scheduler_address)  # noqa: T201
    signal.pause()
