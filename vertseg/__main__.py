"""`python -m vertseg` is the command `vertseg`."""

import sys

from vertseg.cli import main

sys.exit(main())
