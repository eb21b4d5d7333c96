"""The front door: `python3 hack/local-cluster up|down|status|…`. `make cluster-up` calls it.

Standard library only, because it runs before any virtual environment exists.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - run before anything has checked the version
    sys.exit("hack/local-cluster needs Python 3.11 or newer; this is " + sys.version.split()[0])

from local_cluster.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
