"""Ways of tracking that are compared: the tracker as it is, and with one of its parts taken away."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.accuracy.observing import Views, sparse_landmarks, without_mattes
from raytrack.fit.config import TrackConfig
from raytrack.fit.vhap_config import VhapConfig
from raytrack.head.model import HeadModel


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of tracking."""

    name: str
    title: str
    changes: tuple[tuple[str, object], ...] = ()
    """Fields of `TrackConfig`."""
    mattes: bool = True
    landmarks: str = "all"
    """`all`, or `68` of them."""

    def config(self, num_threads: int) -> TrackConfig:
        """How to track."""
        return dataclasses.replace(TrackConfig(num_threads=num_threads), **dict(self.changes))  # pyright: ignore[reportArgumentType]

    def views(self, views: Views, head: HeadModel) -> Views:
        """What to track."""
        steps: list[Callable[[Views], Views]] = []
        steps += [] if self.mattes else [without_mattes]
        steps += [lambda given: sparse_landmarks(given, head)] if self.landmarks == "68" else []
        for step in steps:
            views = step(views)
        return views


_SHORT_VHAP = VhapConfig(texture_size=512, batch_size=8, init_steps=250, global_epochs=10)
"""VHAP's own numbers (2048 texels, batches of 16, 500 steps, 30 epochs) would take as long as all the rest."""
PRODUCT = Variant(name="default", title="raytrack")
ABLATIONS = (
    Variant(name="no-offsets", title="without offsets", changes=(("static_offset", False),)),
    Variant(name="68-landmarks", title="68 of the 478 landmarks", landmarks="68"),
    Variant(
        name="adam", title="Adam in place of Gauss–Newton (`vhap` preset, shortened)",
        changes=(("preset", "vhap"), ("vhap", _SHORT_VHAP)),
    ),
    Variant(name="landmarks-only", title="landmarks alone, no colours", changes=(("landmarks_only", True),)),
    Variant(name="no-matte", title="without a matte (region perturbation on)", mattes=False),
    Variant(
        name="no-matte-no-perturbation", title="without a matte, region perturbation off", mattes=False,
        changes=(("perturbation", False),),
    ),
)  # fmt: skip
"""What each part buys. Perturbation works where there is no matte, so that it is judged there."""
ABLATED = ("mono-dan", "mono-ada", "mono-gus")
"""Clips on which parts are taken away: short hair and a microphone, long hair, and a long lens."""
