"""Measure how far tracks are from the truth: `make bench-accuracy`; see docs/accuracy.md."""

import argparse
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import cv2

from benchmarks.accuracy import tables
from benchmarks.accuracy.page import rewrite
from benchmarks.accuracy.real import file_digest, score_real
from benchmarks.accuracy.runs import code_digest, measure_all, measured
from benchmarks.accuracy.sheet import write_sheet
from benchmarks.accuracy.suite import ROOT, Clip, make_suite, suite_specs
from benchmarks.accuracy.variants import ABLATED, ABLATIONS, PRODUCT
from raytrack.errors import RaytrackError
from raytrack.render import warm_up

PAGE = ROOT / "docs" / "accuracy.md"
Blocks = dict[str, str]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.accuracy", description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="real videos to measure as well, without truth")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench-accuracy")
    parser.add_argument("--quick", action="store_true", help="two of the eight people, parts taken away on one clip")
    parser.add_argument("--only", default="", help="only clips whose name contains this, such as rig or mono-ada")
    parser.add_argument("--no-ablations", action="store_true", help="leave out what shows what each part buys")
    names = ",".join(variant.name for variant in ABLATIONS)
    parser.add_argument("--variants", default=names, help="which parts to take away (default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="also rewrite the tables and the picture of docs/")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    known = {variant.name for variant in ABLATIONS}
    if unknown := set(arguments.variants.split(",")) - known:
        parser.error(f"unknown variant {', '.join(sorted(unknown))}; known: {names}")
    if arguments.docs and (arguments.quick or arguments.only or arguments.variants != names):
        parser.error("--docs writes the page of the whole suite: leave out --quick, --only and --variants")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("benchmarks.accuracy").setLevel(logging.INFO)
    cv2.setNumThreads(1)
    start = time.monotonic()
    specs = [spec for spec in suite_specs(quick=arguments.quick) if arguments.only in spec.name]
    clips = make_suite(specs, arguments.out / "suite", num_threads=arguments.threads)
    warm_up()
    document: dict[str, Any] = {"code": code_digest(), "quick": arguments.quick}
    blocks = {
        **_suite_blocks(clips, arguments, document),
        **_real_blocks(arguments, document),
    }
    document["seconds"] = time.monotonic() - start
    _write(blocks, document, arguments.out)
    if arguments.docs:
        rewrite(PAGE, blocks)
        mono = [clip for clip in clips if not clip.is_rig]
        write_sheet(mono, arguments.out / "tracks" / PRODUCT.name, PAGE.with_name("accuracy.jpg"))


def _suite_blocks(clips: list[Clip], arguments: argparse.Namespace, document: dict[str, Any]) -> Blocks:
    """Tables of the rendered suite."""
    results = measure_all(clips, PRODUCT, arguments.out, num_threads=arguments.threads)
    mono = [result for result in results if result["clip"].startswith("mono-")]
    rigs = [result for result in results if result["clip"].startswith("rig-")]
    document |= {"results": results, "mono": tables.summary(mono), "rig": tables.summary(rigs)}
    blocks = {"results": tables.main_table(mono, rigs), "clips": tables.clip_table(results)}
    if arguments.no_ablations:
        return blocks
    variants = [variant for variant in ABLATIONS if variant.name in arguments.variants.split(",")]
    ablated = ABLATED[:1] if arguments.quick else ABLATED
    subset = [clip for clip in clips if clip.name in ablated]
    rows = [(PRODUCT.title, [result for result in results if result["clip"] in ablated])]
    rows += [
        (variant.title, measure_all(subset, variant, arguments.out, num_threads=arguments.threads))
        for variant in variants
    ]
    document["ablations"] = dict(rows)
    blocks["ablations"] = tables.ablation_table(rows)
    by_name = {variant.name: found for variant, (_, found) in zip(variants, rows[1:], strict=True)}
    if {"no-matte", "no-matte-no-perturbation"} <= set(by_name):
        gain = tables.perturbation_gain(by_name["no-matte"], by_name["no-matte-no-perturbation"])
        blocks["perturbation"] = f"Outlines without and with region perturbation: {gain}."
    return blocks


def _real_blocks(arguments: argparse.Namespace, document: dict[str, Any]) -> Blocks:
    """Table of real clips, where some are given."""
    results = []
    for clip in arguments.clips:

        def work(clip: Path = clip) -> dict[str, Any]:
            try:
                return {"scores": score_real(clip, arguments.threads), "failure": ""}
            except RaytrackError as error:
                return {"scores": {}, "failure": str(error)}

        results.append(measured(arguments.out / "results", clip.stem, "real", file_digest(clip), work))
    document["real"] = results
    return {"real clips": tables.real_table(results)} if results else {}


def _write(blocks: Blocks, document: dict[str, Any], out: Path) -> None:
    text = "\n\n".join(f"## {name}\n\n{block}" for name, block in blocks.items())
    out.mkdir(parents=True, exist_ok=True)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    (out / "results.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(text)
    print(f"\nin {out}: table.md, results.json")


if __name__ == "__main__":
    main()
