"""Only where a browser is asked for; there these tests never skip."""

import os

collect_ignore_glob = [] if "MTPILOT_BROWSER" in os.environ else ["test_*.py"]
