# The core image with torch for CPUs: it trains and samples with the generators that need it.
#   containers/build.sh torch
# Targets and builders: as core.Dockerfile, whose target `packages` it builds on.
ARG PACKAGES_IMAGE
FROM ${PACKAGES_IMAGE} AS packages

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_TRUSTED_HOST

# The list names the CPU build, of which the public index has none: pip's settings above must lead to one.
COPY containers/torch.lock .
RUN pip install --require-hashes --requirement torch.lock && pip check && ./lean.sh

FROM packages AS lister
COPY containers/sbom.lock .
RUN python -m venv /opt/sbom && /opt/sbom/bin/pip install --require-hashes --requirement sbom.lock

FROM packages AS torch
COPY dist/*.whl dist/
RUN pip install --no-deps dist/*.whl && rm -r dist && synth --version
COPY containers/bin/ /usr/local/bin/

FROM torch AS sbom
COPY --from=lister /opt/sbom /opt/sbom
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-file sbom.cdx.json "$(command -v python)"

FROM torch AS labelled
COPY --from=sbom /opt/synth/sbom.cdx.json .
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="synth-components with torch" \
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
