#!/usr/bin/env bash
# Runs the tests of the object tier against an S3 server over HTTP: moto, which decides conditional writes rightly.
# usage: tests/s3/run.sh [directory for the Python environment]
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${1:-target/s3-venv}
moto=$(tests/s3/install.sh "$venv")
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$moto" -H 127.0.0.1 -p "$port" >"$venv/moto.log" 2>&1 &
server=$!
trap 'kill "$server"' EXIT
until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/moto-api/"; do
    kill -0 "$server"
    read -r -t 0.1 <> <(:) || true
done
curl --silent --fail --output /dev/null --request PUT "http://127.0.0.1:$port/chronik-test"
export CHRONIK_TEST_S3="http://127.0.0.1:$port" AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
# Of the whole workspace, as it was built before: one package alone has fewer features of others on.
cargo test --profile "${CHRONIK_TEST_PROFILE:-release}" --workspace --locked --test it -- s3
