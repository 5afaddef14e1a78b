"""Stands in for ``python -m avi.runner``: does what the job's parameter ``what`` says, by the same contract."""

import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

output = Path(os.environ["GAVIP_OUTPUT_DIR"])
output.mkdir(parents=True, exist_ok=True)
parameters = json.loads(Path(os.environ["GAVIP_PARAMETERS_FILE"]).read_text())
attempt = int(os.environ["GAVIP_JOB_ATTEMPT"])


def report(done: int, total: int) -> int:
    body = json.dumps({"attempt": attempt, "done": done, "total": total, "task": f"step {done}"})
    request = urllib.request.Request(
        os.environ["GAVIP_JOB_URL"] + "/progress",
        body.encode(),
        {
            "Authorization": "Bearer " + os.environ["GAVIP_JOB_TOKEN"],
            "Content-Type": "application/json",
        },
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(request, timeout=5).status
    except urllib.error.HTTPError as e:
        return e.code
    except OSError:
        return 0


def finish(**result: object) -> None:
    part = output / ".result.json"
    part.write_text(json.dumps(result))
    part.rename(output / "result.json")


print("started as", sys.argv[1:], flush=True)
# one line per execution, outside the product: a doubled start would show
with open(os.environ["GAVIP_USER_SPACE"] + "/runs.txt", "a") as runs:
    runs.write(f"{os.environ['GAVIP_JOB_ID']} {attempt}\n")

what = parameters["what"]
if what == "succeed":
    for n in range(3):
        report(n, 3)
        time.sleep(parameters["seconds"] / 3)
    (output / "answer.txt").write_text("42")
    finish(ok=True, outputs=["answer.txt", "../../escape"])
elif what == "talk":
    # more than a pipe holds, over time: who writes it must not wait for a full disk
    for _ in range(20):
        print("x" * 32768, flush=True)
        time.sleep(parameters["seconds"] / 20)
    finish(ok=True)
elif what == "fail":
    finish(ok=False, error={"code": "cell-error", "message": "Cell 2 raised.", "cell": 2})
    sys.exit(1)
elif what == "hang":
    report(0, 0)
    time.sleep(600)
elif what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
elif what == "eat":
    hoard = []
    while True:
        hoard.append(os.urandom(8 << 20))
        time.sleep(0.02)
elif what == "wrong-token":
    os.environ["GAVIP_JOB_TOKEN"] = "x" * 43
    print("answer", report(0, 1), flush=True)
    finish(ok=True)
