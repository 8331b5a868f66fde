#!/usr/bin/env bash
# Runs the end-to-end tests: installs the clients, then pytest. `--quick` leaves the long tests out; other arguments go
# to pytest. CHRONIK_E2E_BROKER=kafka runs the same tests against Apache Kafka.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${CHRONIK_E2E_CACHE:-$root/target/e2e}
"$here/install.sh"
args=()
for a in "$@"; do
  if [ "$a" = --quick ]; then args+=(-m "not slow"); else args+=("$a"); fi
done
cd "$here"
exec "$cache/venv/bin/python" -m pytest -p no:cacheprovider -rfE "${args[@]}"
