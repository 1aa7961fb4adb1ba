"""A run that ends at once when an item of some stage has come so far, as if the machine had died.

Run by `test_pipeline_recordings.py`: `python end_early.py STAGE NUMBER raytrack's arguments…`.
"""

import os
import sys
from pathlib import Path

from raytrack import cli
from raytrack.fit import stage_loop
from raytrack.pipeline.stage import StageContext

STAGE, NUMBER = sys.argv[1], int(sys.argv[2])
told = []


def progress(context: StageContext, done: float, total: float, note: str = "") -> None:
    """Count what a stage tells of itself, and die at the given number."""
    if context.stage == STAGE:
        told.append(done)
        if len(told) == NUMBER:
            assert STAGE != "track" or any(Path(context.checkpoint_folder).iterdir())
            os._exit(9)


StageContext.progress = progress
stage_loop.CHECKPOINT_INTERVAL_S = 0.0
sys.exit(cli.main(sys.argv[3:]))
