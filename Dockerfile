# Three images out of one file: `service` (the default: no training code), `training`, and what both build on.
#
#   docker build -t axon .                                       torch as the default package index has it: with CUDA
#   docker build -t axon --build-arg TORCH_INDEX=… .             torch from one of PyTorch's own indexes: CPU, or one CUDA
#   docker build --target training -t axon-training .
#
# `deploy/images.sh build` builds a release: for amd64 and arm64, from a base that is pinned by its digest.
#
# A torch wheel in wheels/ goes before both, and needs no network: `pip download --no-deps -d wheels torch==2.13.0`.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/axon/bin:$PATH
# The base has no bytecode of the standard library, so that each process, and each health check, would compile it anew.
RUN python -m compileall -q --invalidation-mode unchecked-hash -x '/(site-packages|test|tests|idlelib|lib2to3|turtledemo)/' \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

# torch goes in first and alone: it is large and seldom changes, so the layer lasts.
FROM base AS torch
ARG TORCH_INDEX
WORKDIR /build
COPY constraints.txt ./
COPY wheels/ wheels/
RUN python -m venv /opt/axon \
    && torch="$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir --find-links wheels ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "${torch}"

FROM torch AS build-service
COPY pyproject.toml README.md LICENSE ./
RUN for package in inference models service training; do mkdir $package && touch $package/__init__.py; done \
    && pip install --no-cache-dir --constraint constraints.txt '.[service,arrow,bucket,grpc,log,signing,traces]' && pip uninstall --yes axon
COPY axon/ axon/
COPY inference/ inference/
COPY models/ models/
COPY service/ service/
# Without the training package: what is not there cannot be run, and needs no patches.
ARG SOURCE_DATE_EPOCH
RUN rm -rf training build && pip install --no-cache-dir --no-deps . && axon sbom --system --out /opt/axon/bom.json

FROM torch AS build-training
COPY pyproject.toml README.md LICENSE ./
RUN for package in inference models service training; do mkdir $package && touch $package/__init__.py; done \
    && pip install --no-cache-dir --constraint constraints.txt '.[training,bucket,onnx,postgresql,signing]' && pip uninstall --yes axon
COPY axon/ axon/
COPY conversion/ conversion/
COPY inference/ inference/
COPY models/ models/
COPY monitoring/ monitoring/
COPY scoring/ scoring/
COPY training/ training/
ARG SOURCE_DATE_EPOCH
RUN rm -rf service build && pip install --no-cache-dir --no-deps . && axon sbom --system --out /opt/axon/bom.json

# What both run as: no root, and a store of their own that a new volume takes its owner from.
FROM base AS runtime
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin axon \
    && mkdir /models && chown axon:axon /models
ENV AXON_STORE=/models
WORKDIR /models
# By number: Kubernetes cannot tell from a name that this is not root.
USER 10001:10001

FROM runtime AS training
COPY --from=build-training /opt/axon /opt/axon
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM runtime AS service
COPY --from=build-service /opt/axon /opt/axon
ENV AXON_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-m", "service", "health"]
ENTRYPOINT ["python", "-m", "service"]
