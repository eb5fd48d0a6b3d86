# PostgreSQL for the cluster tests, from the distribution's own package: no image is pulled for it.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends postgresql >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* \
 && ln -s /usr/lib/postgresql/*/bin /opt/postgresql \
 && printf 'postgres:x:65532:65532::/data:/bin/sh\n' >>/etc/passwd-tests \
 && sed -i '/^postgres:/d' /etc/passwd && cat /etc/passwd-tests >>/etc/passwd && rm /etc/passwd-tests
COPY postgres-entrypoint /usr/local/bin/postgres-entrypoint
USER 65532:65532
ENTRYPOINT ["/bin/sh", "/usr/local/bin/postgres-entrypoint"]
