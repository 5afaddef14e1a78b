"""One real line for every package of the scientific bundle, and for every library of GAVIP's own.

Run inside an image: reads a JSON object {name: code} and prints {name: [error, seconds]}; error is
empty when the code ran.
"""

import json
import sys
import time
import traceback

results = {}
for name, code in json.load(sys.stdin).items():
    begun = time.perf_counter()
    try:
        exec(compile(code, name, "exec"), {"__name__": name})
        error = ""
    except Exception:  # noqa: BLE001 - it is reported with its traceback
        error = traceback.format_exc()
    results[name] = [error, round(time.perf_counter() - begun, 3)]
    print(name, file=sys.stderr)
sys.__stdout__.write("\n" + json.dumps(results))
