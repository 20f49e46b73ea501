# The audit in a container: docker build --tag ptq-pipeline .   (docs/docker.md)
FROM python:3.11-slim-bookworm

ENV DO_NOT_TRACK=1 \
    GX_ANALYTICS_ENABLED=false \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

# git: an audit names the revision that made it.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home auditor

WORKDIR /audit

# The dependencies first: they change less often than the sources. Torch for the CPU is a tenth of torch for CUDA.
COPY constraints.txt pyproject.toml PACKAGE.md LICENSE ./
RUN python -m pip install --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu torch torchvision

COPY src src
COPY conf conf
RUN python -m pip install --constraint constraints.txt --editable .

COPY data data
COPY .telemetry ./
# Results are written by a user without rights.
RUN chown --recursive auditor /audit
USER auditor

STOPSIGNAL SIGTERM
CMD ["kedro", "ptq", "--help"]
