# syntax=docker/dockerfile:1
# An image whose steps install nothing: `make image`. See docs/deploying.md.
#
#   docker build --target cpu  -t tunepipe:cpu .    # every step but those of the local backend
#   docker build --target cuda -t tunepipe:cuda .   # all of them; the host brings NVIDIA's driver
#
# The base is named by its digest (3.11.16-slim-trixie, all platforms), the one that steps run on, too.
ARG PYTHON=python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

# The packages by the hashes of the lock file; the package itself without any index.
FROM ${PYTHON} AS build-cuda
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/tunepipe
ENV PATH=/opt/tunepipe/bin:$PATH
WORKDIR /src
COPY tunepipe/packaging/requirements.lock ./
RUN python -m pip install --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY tunepipe ./tunepipe
COPY components ./components
COPY pipelines ./pipelines
COPY compiled ./compiled
RUN python -m pip install --no-deps --no-build-isolation --no-index . \
    && python -P -m tunepipe.packaging.installed

# Without torch and what belongs to it, which is nine tenths of the image.
FROM build-cuda AS build-cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m pip list --format=freeze | cut -d= -f1 \
    | grep -E '^(torch|triton|nvidia-|cuda-|bitsandbytes|accelerate|peft|transformers|tokenizers|safetensors|trl|datasets)' \
    | xargs -r python -m pip uninstall --yes --quiet

FROM ${PYTHON} AS cpu
COPY --from=build-cpu /opt/tunepipe /opt/tunepipe
ENV PATH=/opt/tunepipe/bin:$PATH PYTHONDONTWRITEBYTECODE=1
RUN useradd --create-home --uid 10001 tunepipe
USER 10001
WORKDIR /home/tunepipe
ARG CODE=
LABEL tunepipe.code=$CODE
CMD ["tunepipe", "--help"]

FROM ${PYTHON} AS cuda
COPY --from=build-cuda /opt/tunepipe /opt/tunepipe
ENV PATH=/opt/tunepipe/bin:$PATH PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home --uid 10001 tunepipe
USER 10001
WORKDIR /home/tunepipe
ARG CODE=
LABEL tunepipe.code=$CODE
CMD ["tunepipe", "--help"]
