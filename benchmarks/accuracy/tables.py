"""The tables of the suite, as Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A column."""

    key: str
    title: str
    digits: int = 2
    higher_is_better: bool = False
    mono_target: float | None = None
    rig_target: float | None = None


MEASURES = (
    Measure(key="face_mm", title="face mm", mono_target=1.5, rig_target=0.7),
    Measure(key="face_vertex_mm", title="face, vertex to vertex, mm"),
    Measure(key="skull_mm", title="skull (with hair) mm"),
    Measure(key="bare_skull_mm", title="skull mm", rig_target=1.5),
    Measure(key="neck_mm", title="neck mm", rig_target=1.5),
    Measure(key="bare_neck_mm", title="bare neck mm"),
    Measure(key="landmark_px", title="landmarks px"),
    Measure(key="gaze_deg", title="gaze °", digits=1, mono_target=4.0, rig_target=4.0),
    Measure(key="blink_f1", title="blink F1", higher_is_better=True, mono_target=0.95, rig_target=0.95),
    Measure(key="focal_percent", title="focal %", digits=1, mono_target=5.0),
    Measure(key="jitter_px", title="jitter px", mono_target=0.25),
    Measure(key="jitter_excess_px", title="shaking beyond the truth's px"),
    Measure(key="psnr_db", title="PSNR dB", digits=1, higher_is_better=True),
    Measure(key="coverage", title="coverage", digits=3, higher_is_better=True),
    Measure(key="time_ratio", title="time / step", digits=1),
)
OUTLINES = ("hair", "ears", "neck")


def values_of(results: Sequence[Result], key: str) -> list[float]:
    """The scores of a name that there are."""
    values = [result["scores"].get(key) for result in results]
    return [value for value in values if value is not None]


def pooled_f1(results: Sequence[Result]) -> float | None:
    """Blinks of all clips together: a clip has few of them."""
    counts = [sum(values_of(results, f"blink_{name}")) for name in ("hits", "false_alarms", "misses")]
    total = 2 * counts[0] + counts[1] + counts[2]
    return 2 * counts[0] / total if total else None


def summary(results: Sequence[Result]) -> dict[str, dict[str, float | None]]:
    """Median and worst of every measure; of blinks, all clips' together and the worst clip's."""
    rows: dict[str, dict[str, float | None]] = {}
    for measure in MEASURES:
        values = values_of(results, measure.key)
        if not values:
            rows[measure.key] = {"median": None, "worst": None}
            continue
        median = pooled_f1(results) if measure.key == "blink_f1" else float(np.median(values))
        rows[measure.key] = {"median": median, "worst": min(values) if measure.higher_is_better else max(values)}
    return rows


def shown(value: float | None, digits: int) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def main_table(mono: Sequence[Result], rigs: Sequence[Result]) -> str:
    """Median, worst and target of every measure, for one camera and for eight."""
    one, eight, rows = summary(mono), summary(rigs), []
    for measure in MEASURES:
        row = [measure.title]
        for found, target in ((one, measure.mono_target), (eight, measure.rig_target)):
            values = found[measure.key]
            sign = "≥" if measure.higher_is_better else "≤"
            goal = "" if target is None else f"{sign} {target:g}"
            row += [shown(values["median"], measure.digits), shown(values["worst"], measure.digits), goal]
        rows.append(row)
    titles = [f"one camera, {counted(mono)}: median", "worst", "target"]
    titles += [f"eight calibrated, {counted(rigs)}: median", "worst", "target"]
    return _table(["", *titles], rows)


def counted(results: Sequence[Result]) -> str:
    """How many clips there are, and how many of them have no track, which medians cannot show."""
    failed = sum(bool(result["failure"]) for result in results)
    return f"{len(results)} clip{'' if len(results) == 1 else 's'}" + (
        f", {failed} of them without a track" if failed else ""
    )


def clip_table(results: Sequence[Result]) -> str:
    """Every clip by itself."""
    rows = []
    for result in results:
        if result["failure"]:
            rows.append([result["clip"], result["failure"], *[""] * (len(MEASURES) - 1)])
            continue
        rows.append(
            [result["clip"], *(shown(result["scores"].get(measure.key), measure.digits) for measure in MEASURES)]
        )
    return _table(["clip", *(measure.title for measure in MEASURES)], rows)


def ablation_table(variants: Sequence[tuple[str, Sequence[Result]]]) -> str:
    """Medians of each variant, with the outlines of what has no landmarks."""
    rows = []
    for title, results in variants:
        found = summary(results)
        failed = sum(bool(result["failure"]) for result in results)
        named = title if not failed else f"{title} ({failed} of {len(results)} without a track)"
        row = [named, *(shown(found[measure.key]["median"], measure.digits) for measure in MEASURES)]
        for name in OUTLINES:
            values = values_of(results, f"{name}_outline_px")
            row.append(shown(float(np.median(values)) if values else None, 2))
        rows.append(row)
    titles = [*(measure.title for measure in MEASURES), *(f"outline of {name} px" for name in OUTLINES)]
    return _table(["", *titles], rows)


def perturbation_gain(on: Sequence[Result], off: Sequence[Result]) -> str:
    """By how much the outlines' errors fall with the region perturbation, all clips together."""
    parts = []
    tracked = {result["clip"] for result in on if not result["failure"]}
    tracked &= {result["clip"] for result in off if not result["failure"]}
    for name in OUTLINES:
        with_it, without = (
            values_of([result for result in results if result["clip"] in tracked], f"{name}_outline_px")
            for results in (on, off)
        )
        if not with_it or not without:
            continue
        change = 100 * (1 - np.mean(with_it) / np.mean(without))
        by = f"{abs(change):.0f} % {'less' if change >= 0 else 'more'}"
        parts.append(f"{name} {np.mean(without):.2f} → {np.mean(with_it):.2f} px ({by})")
    return "; ".join(parts)


def real_table(results: Sequence[Result]) -> str:
    """Real clips: what can be said without truth, and what VHAP published of them."""
    columns = ("psnr_db", "coverage", "landmark_px", "jitter_px", "vhap_psnr_db", "both_psnr_db", "covers_vhap")
    digits = (1, 3, 2, 2, 1, 1, 3)
    titles = ("PSNR dB", "coverage", "landmarks px", "jitter px", "VHAP PSNR dB, where both cover",
              "raytrack's there", "share of VHAP's pixels covered")  # fmt: skip
    rows = [
        [
            r["clip"] + (f" ({r['failure']})" if r["failure"] else ""),
            *(shown(r["scores"].get(key), n) for key, n in zip(columns, digits, strict=True)),
        ]
        for r in results
    ]
    return _table(["clip", *titles], rows)
