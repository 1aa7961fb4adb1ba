"""Compiling the kernels once, before several workers would all do so at the same time."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterable

from raytrack.pipeline.plan import SequencePlan
from raytrack.pipeline.worker import ONE_THREAD

logger = logging.getLogger(__name__)

_LIMIT_S = 600.0
_WARM_UP = "from raytrack.render.warm import warm_up; warm_up()"


def compile_kernels(plans: Iterable[SequencePlan]) -> bool:
    """Compile what the stages of several sequences need, or find it compiled; a few seconds where it is.

    Another process does it, so that the driver stays small. A failure is left for the workers to meet and to report.

    Returns:
        Whether there was a reason to: one worker alone compiles for itself.
    """
    waiting = sum(any(stage.compiles and not plan.stage_done(stage.name) for stage in plan.stages) for plan in plans)
    if waiting < 2:
        return False
    try:
        done = subprocess.run(  # noqa: S603 (this very Python, and no shell)
            [sys.executable, "-c", _WARM_UP],
            env={**os.environ, **ONE_THREAD},
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("the kernels could not be compiled ahead (%s)", error)
        return True
    if done.returncode:
        logger.warning("the kernels could not be compiled ahead (%s)", (done.stderr.strip() or "?").splitlines()[-1])
    return True
