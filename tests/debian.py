"""Installs the Debian packages that some tests open: Chromium for the pages, Go for the log's outside verifiers. `make test` runs it.

Where it may not install (no root, no apt-get), it says in one line what will not be run; under CI that is a failure, in the tests themselves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {"chromium": "/usr/bin/chromium", "golang-go": "/usr/bin/go", "golang-golang-x-mod-dev": "/usr/share/gocode/src/golang.org/x/mod"}
SECONDS_MAX = 600


def missing() -> list[str]:
    return [package for package, path in PACKAGES.items() if not Path(path).exists()]


def main() -> None:
    wanted = missing()
    if not wanted:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"Not installed here, so some tests will not run: {', '.join(wanted)}. As root on Debian: apt-get install {' '.join(wanted)}")
        return
    print(f"Installing {', '.join(wanted)} for the browser tests and the outside verifiers …", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted]):
        done = subprocess.run(
            command, env=environment, timeout=SECONDS_MAX, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            print(f"{' '.join(command[:2])} failed, so some tests will not run: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            return


if __name__ == "__main__":
    main()
