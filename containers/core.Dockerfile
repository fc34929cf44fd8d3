# The image without torch: the command line, every Kubeflow component, and later SageMaker's `train` and `serve`.
#   docker build --file containers/core.Dockerfile --tag synth-components:0.1.0 .
# Written for the legacy builder and BuildKit alike: no "# syntax" line, no heredoc, no --mount, no --chmod.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

# pip's own settings, empty by default: a site with an index or a folder of wheels passes its own.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8 \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /opt/synth
COPY containers/core.lock .
RUN pip install --require-hashes --no-compile --requirement core.lock

# The wheel that containers/build.sh made: this image needs no build tools.
COPY dist/*.whl dist/
RUN pip install --no-deps --no-compile dist/*.whl && rm -r dist && synth --version

LABEL org.opencontainers.image.title="synth-components" \
      org.opencontainers.image.description="Synthetic data: train, sample, evaluate, augment" \
      org.opencontainers.image.licenses="Apache-2.0"

# Writes nothing outside the paths it is given: fit for a read-only root and any user.
WORKDIR /tmp
USER 65532:65532
CMD ["train"]
