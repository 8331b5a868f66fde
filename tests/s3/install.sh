#!/usr/bin/env bash
# Puts the S3 server of the tests into a Python environment, unless it is there, and prints the server's path.
# usage: tests/s3/install.sh [directory for the Python environment]
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$(realpath -m "${1:-target/s3-venv}")
if ! [ -x "$venv/bin/moto_server" ]; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'moto[server]==5.2.5' >&2
fi
echo "$venv/bin/moto_server"
