# The image without torch: the command line, every Kubeflow component, and SageMaker's `train` and `serve`.
#   containers/build.sh core
# Targets: `kfp`, the default, ends as a user that is not root; `sagemaker` ends as root, as SageMaker wants it;
# `packages` is what torch.Dockerfile builds on: without our code, so that no change of it installs torch anew.
# Written for the legacy builder and BuildKit alike: no "# syntax" line, no heredoc, no --mount, no --chmod.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS packages

# pip's own settings, empty by default: a site with an index or a folder of wheels passes its own.  The history of an
# image shows them: no passwords here.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST

# Nothing is written at run time but to the paths that a task is given and to /tmp, so the root may be read-only: pip
# compiles byte code here.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8 HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib \
    GIT_PYTHON_REFRESH=quiet PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /opt/synth
COPY containers/core.lock containers/lean.sh ./
RUN pip install --require-hashes --requirement core.lock && pip check && ./lean.sh

# The tool that lists what an image holds, which the image does not hold.
FROM packages AS lister
COPY containers/sbom.lock .
RUN python -m venv /opt/sbom && /opt/sbom/bin/pip install --require-hashes --requirement sbom.lock

FROM packages AS core
# The wheel that containers/build.sh made: this image needs no build tools.
COPY dist/*.whl dist/
RUN pip install --no-deps dist/*.whl && rm -r dist && synth --version
COPY containers/bin/ /usr/local/bin/

FROM core AS sbom
COPY --from=lister /opt/sbom /opt/sbom
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file sbom.cdx.json "$(command -v python)"

FROM core AS labelled
COPY --from=sbom /opt/synth/sbom.cdx.json .
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="synth-components" \
      org.opencontainers.image.description="Synthetic data: train, sample, evaluate, augment" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /tmp
CMD ["train"]

FROM labelled AS sagemaker
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true \
      com.amazonaws.sagemaker.capabilities.multi-models=true

FROM labelled AS kfp
USER 65532:65532
