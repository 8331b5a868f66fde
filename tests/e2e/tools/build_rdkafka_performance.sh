#!/usr/bin/env bash
# Builds librdkafka's own performance program, the client of the throughput benchmarks, into target/e2e/bin. The source is
# the one that the rdkafka-sys package carries; cargo fetches it like any dependency.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
cache=${CHRONIK_E2E_CACHE:-$root/target/e2e}
version=4.10.0
out=$cache/bin/rdkafka_performance
stamp=$cache/bin/rdkafka_performance.version
[ -x "$out" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ] && { echo "$out"; exit 0; }

work=$cache/rdkafka_performance
rm -rf "$work"
mkdir -p "$work/src" "$cache/bin"
cat >"$work/Cargo.toml" <<TOML
[package]
name = "rdkafka-source"
version = "0.0.0"
edition = "2021"

[dependencies]
rdkafka-sys = { version = "=$version", default-features = false }

[workspace]
TOML
: >"$work/src/lib.rs"
cargo fetch --quiet --manifest-path "$work/Cargo.toml"
source=$(cargo metadata --quiet --format-version 1 --manifest-path "$work/Cargo.toml" |
  python3 -c 'import json,sys; print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "rdkafka-sys"))')
cp -r "$(dirname "$source")/librdkafka" "$work/librdkafka"
cd "$work/librdkafka"
{
  bash ./configure --disable-ssl --disable-gssapi --disable-curl --enable-static
  make -j2 -C src librdkafka.a
  libs=$(sed -n 's/^LIBS[[:space:]]*+*=[[:space:]]*//p' Makefile.config | tr '\n' ' ')
  gcc -O2 -Isrc examples/rdkafka_performance.c src/librdkafka.a $libs -lm -lpthread -o "$out"
} >"$work/build.log" 2>&1 || { tail -30 "$work/build.log" >&2; exit 1; }
echo "$version" >"$stamp"
echo "$out"
