# The platform's images, one target each:
#
#   functions     every stage, the relay, the consumer, the sweep: `groundshift ...`
#   dashboard     one host: `groundshift up`, the stages with the API and the map
#   model-server  one model over KServe v2: `python -m groundshift.serving ...`
#   training      `groundshift train`, `groundshift retrain`, Ray's head and workers, MLflow's server
#
# `make images` builds them, prints what is in them and how long they take to start. The package
# index is whatever the environment says (PIP_INDEX_URL and its like are passed on as build
# arguments); they stay in the build stages and are in no image.
ARG BASE=python:3.11-slim-bookworm

# ---- tools that build and that no image keeps
FROM ${BASE} AS build
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_TRUSTED_HOST=
ARG PIP_CERT=
ARG PIP_DEFAULT_TIMEOUT=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends binutils >/dev/null \
 && python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/venv
WORKDIR /src
COPY requirements-build.lock ./
RUN /opt/build/bin/pip install -q --require-hashes -r requirements-build.lock
COPY docker/install-libraries /usr/local/bin/

# ---- what the functions import
FROM build AS functions-libraries
COPY requirements-functions.lock ./
RUN install-libraries requirements-functions.lock

# ---- what the model server imports
FROM build AS models-libraries
COPY requirements-models.lock ./
RUN install-libraries requirements-models.lock

# ---- the project itself, with the manifests inside: a layer of its own, so that a change of the
# code moves some megabytes and not the libraries
FROM build AS program
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY knative/base knative/base
COPY kserve/base kserve/base
COPY geodata_etl geodata_etl
COPY groundshift groundshift
COPY functions functions
COPY training training
RUN /opt/build/bin/pip wheel -q --no-index --no-deps --no-build-isolation -w /wheel . \
 && /opt/build/bin/pip --python /opt/venv/bin/python install -q --no-index --no-deps --target /opt/app /wheel/*.whl \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/app

# ---- what all images are: no root, no compiler, no pip, nothing written but below /tmp
FROM ${BASE} AS runtime
ENV PATH=/opt/app/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/.cache \
    XDG_DATA_HOME=/tmp/.local/share \
    MPLCONFIGDIR=/tmp/.cache/matplotlib \
    OPENBLAS_NUM_THREADS=1
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080

FROM runtime AS model-server
COPY --from=models-libraries /opt/venv /opt/venv
COPY --from=program /opt/app /opt/app
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="groundshift-models" \
      org.opencontainers.image.description="groundshift's model server: ONNX models over KServe v2" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/v2/health/ready', timeout=2)"]
ENTRYPOINT ["python", "-m", "groundshift.serving"]
# without KServe: every model inside the package; a ServingRuntime names one in /mnt/models
CMD ["--model-dir=/opt/app/groundshift/model_store", "--host=0.0.0.0", "--port=8080"]

FROM runtime AS functions
ENV GROUNDSHIFT_DATA_DIR=/tmp/groundshift
COPY --from=functions-libraries /opt/venv /opt/venv
COPY --from=program /opt/app /opt/app
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="groundshift-functions" \
      org.opencontainers.image.description="groundshift's stages, relay, consumer and command line" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["groundshift"]
CMD ["--help"]

# ---- what the API and the map add to that
FROM build AS dashboard-libraries
COPY requirements-dashboard.lock ./
RUN install-libraries requirements-dashboard.lock

FROM runtime AS dashboard
ENV GROUNDSHIFT_DATA_DIR=/tmp/groundshift
COPY --from=dashboard-libraries /opt/venv /opt/venv
COPY --from=program /opt/app /opt/app
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="groundshift-dashboard" \
      org.opencontainers.image.description="groundshift on one host: stages, dispatcher, API and map" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["groundshift"]
CMD ["up", "--host=0.0.0.0", "--port=8080"]

# ---- what training imports; without a GPU, also without CUDA. The last stages: the classic builder
# makes every stage before its target, and this is the longest
FROM build AS training-libraries
COPY docker/without-cuda /usr/local/bin/
COPY requirements-image-training.lock ./
RUN install-libraries requirements-image-training.lock \
 && without-cuda "$(echo /opt/venv/lib/python3*/site-packages)" \
 && /opt/venv/bin/python -c "import torch; assert torch.ones(2).requires_grad_().sum().backward() is None"

FROM runtime AS training
# no word to anybody: neither Ray's usage statistics nor MLflow's
ENV GROUNDSHIFT_DATA_DIR=/tmp/groundshift \
    RAY_USAGE_STATS_ENABLED=0 \
    MLFLOW_DISABLE_TELEMETRY=true
COPY --from=training-libraries /opt/venv /opt/venv
COPY --from=program /opt/app /opt/app
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ENV GIT_COMMIT=${REVISION}
LABEL org.opencontainers.image.title="groundshift-training" \
      org.opencontainers.image.description="groundshift's training: jobs, Ray's head and workers, MLflow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# a job answers no requests: it is well as long as it runs
HEALTHCHECK --interval=30s --timeout=3s CMD ["python", "-c", "import os; os.kill(1, 0)"]
ENTRYPOINT ["groundshift"]
CMD ["--help"]
