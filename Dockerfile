# One static binary in an otherwise empty image: no shell, no package manager, not root.
#
#   docker build -t sigyn .                                       # the daemon
#   docker build -t log-generator --target log-generator .        # the traffic of the compose stack
FROM rust:1.95.0-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY rust-toolchain.toml Cargo.toml Cargo.lock ./
COPY log-generator ./log-generator
COPY benches ./benches
COPY config ./config
COPY src ./src
RUN target="$(uname -m)-unknown-linux-musl" \
 && rustup target add "$target" \
 && export CC_x86_64_unknown_linux_musl=musl-gcc CC_aarch64_unknown_linux_musl=musl-gcc \
 && cargo build --release --locked --target "$target" --workspace --bins \
 && mkdir -p /out/data \
 && cp "target/$target/release/sigyn" "target/$target/release/log-generator" /out/

FROM scratch AS log-generator
COPY --from=build /out/log-generator /log-generator
USER 10001:10001
ENTRYPOINT ["/log-generator"]

FROM scratch AS sigyn
# Trust in Loki, Slack and GitHub rests on these; mount your own file and set SSL_CERT_FILE, or loki.ca_file, for a private CA.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=10001:10001 /out/data /data
COPY --from=build /out/sigyn /sigyn
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt SIGYN__STORE__DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 9477
ENTRYPOINT ["/sigyn"]
CMD ["run"]
