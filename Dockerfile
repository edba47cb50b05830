# syntax=docker/dockerfile:1
# An image whose steps install nothing: `make image`. See docs/deploying.md.
#
#   docker build --target cpu  -t tunepipe:cpu .    # every step but those of the local backend
#   docker build --target cuda -t tunepipe:cuda .   # all of them; the host brings NVIDIA's driver
#
# The base is named by its digest (3.11.16-slim-trixie, all platforms), the one that steps run on, too.
# --build-arg PYTHON=… names a copy in a registry of your own.
ARG PYTHON=python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

# The packages by the hashes of the lock file. --build-arg PIP_INDEX_URL=… asks an index of your own.
FROM ${PYTHON} AS packages-cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PATH=/opt/tunepipe/bin:$PATH
ARG PIP_INDEX_URL
RUN python -m venv /opt/tunepipe
WORKDIR /src
COPY tunepipe/packaging/requirements.py tunepipe/packaging/requirements.lock ./
RUN python requirements.py > cpu.lock \
    && python -m pip install --require-hashes --no-deps -r cpu.lock

# With torch and what belongs to it, which is nine tenths of the image.
FROM packages-cpu AS packages-cuda
RUN python -m pip install --require-hashes --no-deps -r requirements.lock

# The package itself, without any index.
FROM packages-cpu AS build-cpu
COPY . .
RUN python -m pip install --no-deps --no-build-isolation --no-index . \
    && python -P -m tunepipe.packaging.installed

FROM packages-cuda AS build-cuda
COPY . .
RUN python -m pip install --no-deps --no-build-isolation --no-index . \
    && python -P -m tunepipe.packaging.installed

FROM ${PYTHON} AS user
ENV PATH=/opt/tunepipe/bin:$PATH PYTHONDONTWRITEBYTECODE=1
RUN useradd --create-home --uid 10001 tunepipe
USER 10001
WORKDIR /home/tunepipe
CMD ["tunepipe", "--help"]

FROM user AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/tunepipe /opt/tunepipe

FROM user AS cpu
COPY --from=build-cpu /opt/tunepipe /opt/tunepipe
