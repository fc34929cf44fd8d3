# The image without torch: the command line, every Kubeflow component, and SageMaker's `train` and `serve`.
#   containers/build.sh core
# Targets: `kfp`, the default, ends as a user that is not root; `sagemaker` ends as root, as SageMaker wants it.
# Written for the legacy builder and BuildKit alike: no "# syntax" line, no heredoc, no --mount, no --chmod.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE} AS core

# pip's own settings, empty by default: a site with an index or a folder of wheels passes its own.  The history of an
# image shows them: no passwords here.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST

# Nothing is written at run time but to the paths that a task is given and to /tmp, so the root may be read-only: pip
# compiles byte code here, and test suites of libraries are left out.
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8 HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib \
    GIT_PYTHON_REFRESH=quiet PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /opt/synth
COPY containers/core.lock .
RUN pip install --require-hashes --requirement core.lock && pip check && \
    find "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" -type d -name tests -prune -exec rm -r {} +

# The wheel that containers/build.sh made: this image needs no build tools.
COPY dist/*.whl dist/
RUN pip install --no-deps dist/*.whl && rm -r dist && synth --version
COPY containers/bin/ /usr/local/bin/

# What the image holds, listed by a tool that the image does not hold.
FROM core AS sbom
COPY containers/sbom.lock .
RUN python -m venv /opt/sbom && /opt/sbom/bin/pip install --require-hashes --requirement sbom.lock && \
    /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file sbom.cdx.json "$(command -v python)"

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
