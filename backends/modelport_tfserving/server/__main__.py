"""`python -m modelport_tfserving.server`: the embedded server's command line."""

from __future__ import annotations

import sys

from modelport_tfserving.server.process import main

if __name__ == "__main__":
    sys.exit(main())
