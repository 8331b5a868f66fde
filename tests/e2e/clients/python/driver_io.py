"""The command loop that the Python drivers share (see ../README.md)."""

import base64
import json
import sys
import traceback


def b64(value):
    return None if value is None else base64.b64encode(value).decode()


def raw(text):
    return None if text is None else base64.b64decode(text)


def emit(value):
    sys.stdout.write(json.dumps(value) + "\n")


def serve(handlers):
    for line in sys.stdin:
        command = json.loads(line)
        try:
            handlers[command["cmd"]](command)
            emit({"done": True})
        except Exception:
            emit({"error": traceback.format_exc()})
        sys.stdout.flush()
