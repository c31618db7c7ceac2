"""`python -m relmem_lite` is the `relmem` command; torchrun starts it so."""

import sys

from relmem_lite.cli import main

sys.exit(main())
