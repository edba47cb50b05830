# syntax=docker/dockerfile:1
# An image whose steps install nothing: `make image`. See docs/deploying.md.
#
# VARIANT=cpu runs every step but those of the local backend. VARIANT=cuda runs all of them: torch's
# wheels bring CUDA, and the host brings NVIDIA's driver. Both are built in the same way on the same
# base, which is named by its digest (3.11.16-slim-trixie, all platforms), as is the one that steps
# run on. --build-arg PYTHON=… names a copy in a registry of your own.
ARG PYTHON=python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PATH=/opt/tunepipe/bin:$PATH
WORKDIR /src
# The packages by the hashes of the lock file, setuptools first: it builds kfp-server-api, which has no
# wheel, and then this package. --build-arg PIP_INDEX_URL=… asks an index of your own.
COPY tunepipe/packaging/requirements.py tunepipe/packaging/requirements.lock ./
ARG PIP_INDEX_URL
ARG VARIANT=cpu
RUN python3 -m venv /opt/tunepipe \
    && python requirements.py tools > tools.lock \
    && python requirements.py ${VARIANT} > image.lock \
    && for lock in tools image; do \
    python -m pip install --require-hashes --no-deps --no-build-isolation -r $lock.lock || exit; done
# The package itself, without any index.
COPY . .
RUN python -m pip install --no-deps --no-build-isolation --no-index . \
    && python -P -m tunepipe.packaging.installed

FROM ${PYTHON}
ENV PATH=/opt/tunepipe/bin:$PATH PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home --uid 10001 tunepipe
COPY --from=build /opt/tunepipe /opt/tunepipe
USER 10001
WORKDIR /home/tunepipe
CMD ["tunepipe", "--help"]
