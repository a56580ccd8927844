# The agent's image:  docker build -t resentry-agent .
# (podman: add --format docker, or the health check is lost; neither: make image.)
#
# The base is an argument. A tag can be moved: pin the one that you have tested,
#   docker build --build-arg PYTHON=python:3.11.14-slim-bookworm@sha256:<digest> .
# (docker buildx imagetools inspect python:3.11.14-slim-bookworm shows the digest.)
# Behind a package index of your own: --secret id=pip.conf,src=$HOME/.config/pip/pip.conf
# and --secret id=ca.pem,src=..., which pip finds at /run/secrets/ca.pem.
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

# What builds, and what is shipped: the second has no pip.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/resentry
COPY requirements/build.txt requirements/agent.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/resentry/bin/python install \
    --require-hashes --only-binary :all: -r requirements/agent.txt

COPY LICENSE README.md pyproject.toml ./
COPY client client
COPY agent agent
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation -w /wheels ./client . \
 && /opt/build/bin/pip --python /opt/resentry/bin/python install \
    --no-deps --no-index /wheels/*.whl

# By hash and unchecked: whatever a builder does to the files' dates, this stays valid.
# At level 0, the one that runs: click takes the help texts from docstrings.
RUN python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/resentry/lib


FROM ${PYTHON}

# The official images come without the standard library's .pyc files, and a user who
# may not write there would compile it at every start: three times as slow. They do come
# with pip, which nothing needs any more.
# The directory is what a new named volume takes its owner and mode from.
RUN lib="$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && rm -rf "$lib/ensurepip" "$lib/site-packages/"* /usr/share/python-wheels \
    /usr/local/bin/pip* /usr/local/bin/wheel \
 && python3 -m compileall -q -f --invalidation-mode unchecked-hash \
    -x '/(dist-packages|idlelib|lib2to3|test|tests|turtledemo)/' "$lib" \
 && install -d -o 65532 -g 65532 -m 0750 /var/run/resentry

COPY --from=build /opt/resentry /opt/resentry

# Nothing is written outside the volumes, so the root may be read-only.
ENV PATH=/opt/resentry/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["resentry-agent"]
CMD ["run"]

# Kubernetes ignores this and has probes of its own. With RESENTRY_HTTP_LISTEN=off there is
# nothing to ask: then run with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-I", "-c", "\
import os, http.client; \
c = http.client.HTTPConnection(os.environ.get('RESENTRY_HTTP_LISTEN') or '127.0.0.1:19464', timeout=4); \
c.request('GET', '/livez'); \
raise SystemExit(c.getresponse().status != 200)"]

ARG PYTHON
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="resentry-agent" \
      org.opencontainers.image.description="Sidecar that changes a running service's Sentry configuration from Vault, and proves it." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
