# One image for the space and the enclave; `--target space` leaves out the sandbox's runtime (about 1.2 GB).
# Everything but the system packages is done by an ordinary user. Debian's own Python is what a runtime is
# copied from. An enclave needs a container that may make namespaces: see docs/operations.md.
FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv bubblewrap libseccomp2 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 trustspace \
    && install --directory --owner trustspace --group trustspace /opt/trustspace
USER trustspace
WORKDIR /home/trustspace

FROM base AS build
# torch without the CUDA packages.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A compiler for the lattice sum's kernel; the images have only what it makes.
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
USER trustspace
RUN python3 -m venv /opt/trustspace/venv
COPY --chown=trustspace requirements/ requirements/
RUN /opt/trustspace/venv/bin/python -m pip install --quiet --require-hashes -r requirements/demo.lock
COPY --chown=trustspace pyproject.toml README.md LICENSE ./
COPY --chown=trustspace src/ src/
RUN /opt/trustspace/venv/bin/python -m pip install --quiet --no-deps --no-build-isolation .

FROM build AS runtime
ENV TRUSTSPACE_RUNTIME=/opt/trustspace/runtime
# Only the runtime: a build has no right to try a sandbox. `trustspace doctor` tries one where it is run.
RUN /opt/trustspace/venv/bin/python -c "from pathlib import Path; from trustspace.sandbox.build import ensure_runtime; \
    ensure_runtime(Path('requirements/runtime.lock'), print)"

FROM base AS space
COPY --from=build /opt/trustspace/venv /opt/trustspace/venv
ENV PATH=/opt/trustspace/venv/bin:$PATH TRUSTSPACE_HOME=/home/trustspace/data PYTHONUNBUFFERED=1
RUN install --directory --mode 0700 data
VOLUME /home/trustspace/data
ENTRYPOINT ["trustspace"]
CMD ["--help"]

FROM space
ENV TRUSTSPACE_RUNTIME=/opt/trustspace/runtime
COPY --from=runtime /opt/trustspace/runtime /opt/trustspace/runtime
