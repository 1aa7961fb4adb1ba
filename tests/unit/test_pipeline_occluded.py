"""Regions that are hidden in one sequence reach the stages of that sequence, and no other's."""

import pyarrow as pa
import pytest

from raytrack.config import RunConfig, SequenceConfig
from raytrack.errors import ConfigError
from raytrack.fit.config import TrackConfig
from raytrack.pipeline.digests import Digests
from raytrack.pipeline.plan import plan_sequence
from raytrack.pipeline.stage import Stage, StageOutput
from raytrack.pipeline.stages import check_job

STAGE = Stage(
    name="fit",
    version=1,
    function=lambda context: StageOutput(rows=pa.table({})),
    table="track",
    reads=lambda config: config.track,
)


def test_each_sequence_has_its_own(tmp_path):
    plain, hidden = SequenceConfig(video="a.mp4"), SequenceConfig(video="b.mp4", occluded=("hair", "boundary"))
    config = RunConfig(sequences=(plain, hidden), track=TrackConfig(occluded=("boundary",)))
    first, second = (plan_sequence(tmp_path, config, (STAGE,), one, 0, Digests()) for one in config.sequences)
    assert first.configs["fit"].value.occluded == ("boundary",)
    assert second.configs["fit"].value.occluded == ("boundary", "hair")
    assert first.fingerprints["fit"] != second.fingerprints["fit"]


def test_unknown_regions_of_a_sequence_are_found_before_the_run():
    with pytest.raises(ConfigError, match="no region 'beard'"):
        check_job(RunConfig(sequences=(SequenceConfig(video="a.mp4", occluded=("beard",)),)))
    check_job(RunConfig(sequences=(SequenceConfig(video="a.mp4", occluded=("hair",)),)))
