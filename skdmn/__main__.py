"""Run the ``skdmn`` command as ``python -m skdmn``."""

import sys

from skdmn.cli import main

sys.exit(main())
