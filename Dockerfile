# The gateway as a container. `scripts/image` builds it, even without a container engine or image registry; with an engine,
# `docker build -t bessai-edge .` is enough.
#
#   docker run -d --name bessai-edge -p 127.0.0.1:8000:8000 \
#     -v bessai-data:/var/lib/bessai -v ./config:/var/lib/bessai/config:ro -v ./plugins:/var/lib/bessai/plugins:ro bessai-edge
#
# config/ contains .env (or use --env-file); mount bessai.toml at /var/lib/bessai/bessai.toml. User 1001 must be able to read both.

# By digest, so that a build is repeated with the same base; an update changes both lines.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim@sha256:3783cc01769c7b2b1b83a5c5ad96c815348e28ed7da68e2e3687004faa906251

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
COPY . .
# The cache mounts keep build products, so that a changed line does not rebuild the dependencies. The secrets are optional, for networks
# with their own registry or certificates: --secret id=cargo-config,src=FILE --secret id=certificates,src=FILE
RUN --mount=type=cache,target=/root/.cache/bessai-edge,sharing=locked \
    --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=secret,id=cargo-config,target=/usr/local/cargo/config.toml \
    --mount=type=secret,id=certificates,target=/run/secrets/certificates \
    if [ -f /run/secrets/certificates ]; then export CARGO_HTTP_CAINFO=/run/secrets/certificates; fi \
 && scripts/build

# What the program needs from a system, and nothing else: the C library, root certificates, time zones and its user.
FROM ${RUNTIME_IMAGE} AS system
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates tzdata
COPY --from=build /build/dist/bessai-edge /usr/local/bin/bessai-edge
RUN mkdir -p /image/etc/ssl /image/tmp /image/usr/share/zoneinfo /image/var/lib/dpkg /data/config /data/plugins \
 # The libraries under the names by which the program finds them.
 && ldd /usr/local/bin/bessai-edge | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory=/image \
 && cp -r --dereference /etc/ssl/certs /image/etc/ssl/ \
 # Without the copies of all zones in posix/ and right/.
 && find /usr/share/zoneinfo -mindepth 1 -maxdepth 1 ! -name posix ! -name right -exec cp -r {} /image/usr/share/zoneinfo/ \; \
 && echo 'bessai:x:1001:1001::/var/lib/bessai:/usr/sbin/nologin' >/image/etc/passwd \
 && echo 'bessai:x:1001:' >/image/etc/group \
 && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
 # For scanners: the distribution and the versions of the packages that these files come from.
 && cp --dereference /etc/os-release /image/etc/os-release \
 && dpkg-query --status libc6 libgcc-s1 ca-certificates tzdata >/image/var/lib/dpkg/status \
 && chmod 1777 /image/tmp && chmod -R u=rwX,g=rX,o= /data

FROM scratch
COPY --from=system /image /
# A folder that exists already would keep its owner.
COPY --from=system --chown=1001:1001 /data /var/lib/bessai
COPY --from=build /build/dist/bessai-edge /usr/local/bin/bessai-edge
# The shipped plugins, for a feed's `component`; the default feed's plugin is embedded in the program.
COPY --from=build /build/dist/plugins /usr/share/bessai/plugins

ENV PATH=/usr/local/bin
USER 1001:1001
# The program reads config/.env from its working directory.
WORKDIR /var/lib/bessai
# /health listens on all addresses of the container; -p decides who can reach it.
ENV BESSAI_DATA=/var/lib/bessai \
    BESSAI_PLUGINS=/var/lib/bessai/plugins \
    HEALTH_HOST=0.0.0.0
# One volume: plugins and config are folders in it, or are mounted over it. Volumes of their own would hide these folders.
VOLUME /var/lib/bessai
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["bessai-edge", "health"]
ENTRYPOINT ["bessai-edge"]
CMD ["run"]
