"""Stands for gcloud and git on the PATH: records its arguments and answers as a test says.

`answers.json` beside it has a list for each verb; each call takes the first item, the last one
stays.  A number is an exit code, a text the state that describe prints ("NOT_FOUND": none), and
["hang", SECONDS] waits.
"""

import fcntl
import json
import pathlib
import sys
import time

here = pathlib.Path(sys.argv[0]).parent
arguments = sys.argv[1:]
name = pathlib.Path(sys.argv[0]).name
verb = arguments[3] if name == "gcloud" else "git"
lock = open(here / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)  # ssh and describe run at the same time.
with open(here / "log.jsonl", "a") as log:
    log.write(json.dumps([verb, *arguments]) + "\n")
if name == "git":  # git archive
    (file,) = (word.partition("=")[2] for word in arguments if word.startswith("--output="))
    pathlib.Path(file).touch()
answers = json.loads((here / "answers.json").read_text())
waiting = answers.get(verb) or [0]
answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
(here / "answers.json").write_text(json.dumps(answers))
lock.close()
if answer == "NOT_FOUND":
    sys.exit("ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: no such resource")
if isinstance(answer, str):
    print(answer)
elif isinstance(answer, list):
    time.sleep(answer[1])
else:
    sys.exit(answer)
