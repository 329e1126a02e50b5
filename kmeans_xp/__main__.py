"""``python -m kmeans_xp`` is the command ``kmeans-xp``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
