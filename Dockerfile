# The agent's image:  docker build -t resentry-agent .
# The same with what operators' commands need, for jobs and not for sidecars:
#   docker build --target tools -t resentry-agent-tools .
# With podman, add --format docker, or the health check is lost. Without either: make image.
#
# The base image is an argument. A tag can be moved, so pin the digest that you have tested:
#   docker build --build-arg PYTHON=python:3.11.14-slim-bookworm@sha256:<digest> .
# To see the digest: docker buildx imagetools inspect python:3.11.14-slim-bookworm
# With a package index of your own, add --secret id=pip.conf,src=$HOME/.config/pip/pip.conf
# and, for its certificate, --secret id=ca.pem,src=... (pip finds it at /run/secrets/ca.pem).
ARG PYTHON=python:3.11.14-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src

# One environment builds, the other is shipped. The shipped one has no pip.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/resentry
COPY requirements/build.txt requirements/agent.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
 && /opt/build/bin/pip --python /opt/resentry/bin/python install \
    --require-hashes --only-binary :all: -r requirements/agent.txt

COPY LICENSE README.md pyproject.toml hatch_build.py ./
COPY client client
COPY agent agent
# The commit, for --version: there is no git here.
ARG REVISION=
RUN RESENTRY_COMMIT="${REVISION}" /opt/build/bin/pip wheel --no-deps --no-build-isolation -w /wheels ./client . \
 && /opt/build/bin/pip --python /opt/resentry/bin/python install \
    --no-deps --no-index /wheels/*.whl

# unchecked-hash: the compiled files stay valid, whatever a builder does to the files' dates.
# Optimisation level 0 keeps docstrings, from which click takes the help texts.
RUN python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/resentry/lib


# The extras: nothing of them is in the agent's image.
FROM build AS build-tools
COPY requirements/tools.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem \
    /opt/build/bin/pip --python /opt/resentry/bin/python install \
    --require-hashes --only-binary :all: -r requirements/tools.txt \
 && python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/resentry/lib \
 && install -d -m 0750 /var/lib/bridge/resentry


FROM ${PYTHON} AS base

# The official images lack the standard library's .pyc files. A user who may not write there
# compiles the library at every start, which takes three times as long. So compile it here.
# pip is removed, because nothing needs it.
# A new named volume takes its owner and mode from the directory that is made here.
RUN lib="$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && rm -rf "$lib/ensurepip" "$lib/site-packages/"* /usr/share/python-wheels \
    /usr/local/bin/pip* /usr/local/bin/wheel \
 && python3 -m compileall -q -f --invalidation-mode unchecked-hash \
    -x '/(dist-packages|idlelib|lib2to3|test|tests|turtledemo)/' "$lib" \
 && install -d -o 65532 -g 65532 -m 0750 /var/run/resentry

# The agent writes only to the volumes, so the root file system can be read-only.
ENV PATH=/opt/resentry/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["resentry-agent"]

ARG PYTHON
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="resentry-agent" \
      org.opencontainers.image.description="Sidecar that changes a running service's Sentry configuration from Vault, and proves it." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${PYTHON}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"


FROM base AS tools
# The same for the volume of what the bridge stores.
USER 0:0
RUN install -d -o 65532 -g 65532 -m 0750 /var/lib/resentry
USER 65532:65532
COPY --from=build-tools /opt/resentry /opt/resentry
# Where the bridge keeps its alerts: a new named volume takes its owner and mode from it.
COPY --from=build-tools --chown=65532:65532 /var/lib/bridge /var/lib
LABEL org.opencontainers.image.title="resentry-agent-tools"
CMD ["--help"]


# The last stage is what is built where none is named.
FROM base AS agent
COPY --from=build /opt/resentry /opt/resentry
CMD ["run"]

# Kubernetes ignores this health check and has its own probes. With RESENTRY_HTTP_LISTEN=off
# the agent does not listen, so run the container with --no-healthcheck.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-I", "-c", "\
import os, http.client; \
c = http.client.HTTPConnection(os.environ.get('RESENTRY_HTTP_LISTEN') or '127.0.0.1:19464', timeout=4); \
c.request('GET', '/livez'); \
raise SystemExit(c.getresponse().status != 200)"]
