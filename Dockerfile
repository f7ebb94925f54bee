# The image: one static binary and nothing else.
#
#   docker build -t swarmgate:latest .
#   docker build -t swarmgate:latest --target prebuilt --build-arg BINARY=path/in/the/context .
#
# `prebuilt` takes a binary that was built elsewhere, such as a release's. It stands first because Docker's classic
# builder builds every stage up to its target.

FROM scratch AS prebuilt
ARG BINARY=swarmgate
COPY ${BINARY} /swarmgate
EXPOSE 9001 9002
ENTRYPOINT ["/swarmgate"]

FROM rust:1-alpine AS build
# A C compiler and its headers, for the TLS library.
RUN apk add --no-cache build-base linux-headers
WORKDIR /src
COPY . .
# On Alpine the result is static.
RUN cargo build --release --locked --bin swarmgate && cp target/release/swarmgate /swarmgate && rm -rf target

FROM scratch
COPY --from=build /swarmgate /swarmgate
# 9001: clients, HTTPS. 9002: other agents, mutual TLS, for the overlay network only.
EXPOSE 9001 9002
# No HEALTHCHECK: Swarm would hide a task from its own service's DNS name until the first check has passed.
ENTRYPOINT ["/swarmgate"]
