# The gateway as a container. scripts/image builds it, also where there is no engine or image registry; with an engine,
# `docker build -t bessai-edge .` does.
#
#   docker run -d --name bessai-edge -p 127.0.0.1:8000:8000 \
#     -v bessai-data:/var/lib/bessai -v ./config:/var/lib/bessai/config:ro -v ./plugins:/var/lib/bessai/plugins:ro bessai-edge
#
# config/ holds .env, for which --env-file serves as well; a bessai.toml goes to /var/lib/bessai/bessai.toml. User 1001
# must be able to read them. The demo's broker is left out.

ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
COPY . .
# What is compiled stays in the builder's caches, so that a changed line does not compile the dependencies again. The secrets are
# optional, for a site with a registry or certificates of its own: --secret id=cargo-config,src=FILE --secret id=certificates,src=FILE
RUN --mount=type=cache,target=/root/.cache/bessai-edge,sharing=locked \
    --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=secret,id=cargo-config,target=/usr/local/cargo/config.toml \
    --mount=type=secret,id=certificates,target=/run/secrets/certificates \
    if [ -f /run/secrets/certificates ]; then export CARGO_HTTP_CAINFO=/run/secrets/certificates; fi \
 && scripts/build --no-default-features

FROM ${RUNTIME_IMAGE}
# Roots for TLS and time zones are all that the program wants from a system.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates tzdata \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
 && groupadd --gid 1001 bessai \
 && useradd --uid 1001 --gid bessai --no-create-home --home-dir /var/lib/bessai --shell /usr/sbin/nologin bessai \
 && install -d -o bessai -g bessai -m 0750 /var/lib/bessai /var/lib/bessai/config /var/lib/bessai/plugins
COPY --from=build /build/dist/bessai-edge /usr/local/bin/bessai-edge
# The shipped plugins, for a feed's `component`; the default feed's is in the program.
COPY --from=build /build/dist/plugins /usr/share/bessai/plugins

USER 1001:1001
# config/.env is looked for in the working folder.
WORKDIR /var/lib/bessai
# /health on all addresses of the container; who reaches it is decided by -p.
ENV BESSAI_DATA=/var/lib/bessai \
    BESSAI_PLUGINS=/var/lib/bessai/plugins \
    HEALTH_HOST=0.0.0.0
# One volume: plugins and config lie in it, or are mounted over it. Declared volumes of their own would hide what lies in it.
VOLUME /var/lib/bessai
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["bessai-edge", "health"]
ENTRYPOINT ["bessai-edge"]
CMD ["run"]
