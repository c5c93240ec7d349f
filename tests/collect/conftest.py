"""Lets every test of this folder import the generators beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
