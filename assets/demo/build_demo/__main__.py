"""Render the clip: see the README beside this folder."""

import argparse
import hashlib
import logging
import time
from pathlib import Path

import numpy as np

from . import film, truth
from .head_asset import load_head
from .performance import FRAMES_PER_SECOND, NUM_FRAMES, perform
from .person import make_person
from .plate import render_room
from .skin import make_skin_maps
from .stage import make_stage, render

log = logging.getLogger("assets.demo.build_demo")
DEMO = Path(__file__).resolve().parents[1]
SIZE_PX = 448
FOCAL_RATIO = 2.0
QUALITY = 18
NOISE_SEED = 1000


def write_checksums(assets: Path, files: list[Path]) -> None:
    """Replace the lines of some files in SHA256SUMS, which stays sorted by path."""
    table = assets / "SHA256SUMS"
    lines = table.read_text().splitlines() if table.exists() else []
    entries = {line.split(maxsplit=1)[1].strip(): line.split(maxsplit=1)[0] for line in lines if line.strip()}
    entries |= {file.relative_to(assets).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    table.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(entries.items())))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="assets.demo.build_demo", description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="the head asset's npz")
    parser.add_argument("--out", type=Path, default=DEMO, help="folder for demo.mp4 and ground_truth.npz")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grid", type=int, default=4, help="samples per pixel side")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    head = load_head(arguments.head)
    person, performance = make_person(head), perform(head)
    camera = truth.Camera(focal_px=FOCAL_RATIO * SIZE_PX, size_hw=(SIZE_PX, SIZE_PX))
    stage = make_stage(person, performance, make_skin_maps(head), arguments.threads)
    plate = render_room(camera.size_hw, camera.focal_px, arguments.grid + 4, stage.run)
    log.info("stage is set")
    pictures, alphas, vertices, transforms = [], [], [], []
    start = time.perf_counter()
    for frame in range(NUM_FRAMES):
        picture = render(stage, frame, plate, camera.focal_px, arguments.grid)
        pictures.append(film.develop(picture.linear, NOISE_SEED + frame))
        alphas.append(picture.alpha)
        posed, world = person.posed(performance, frame)
        vertices.append(posed)
        transforms.append(world)
        if frame % 10 == 9:
            log.info("frame %d, %.1f s each", frame, (time.perf_counter() - start) / (frame + 1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    clip, ground_truth = arguments.out / "demo.mp4", arguments.out / "ground_truth.npz"
    film.write_clip(clip, pictures, FRAMES_PER_SECOND, QUALITY)
    truth.write_truth(ground_truth, person, performance, camera, np.stack(vertices), np.stack(transforms), alphas)
    if arguments.out == DEMO:
        write_checksums(DEMO.parent, [clip, ground_truth])
    log.info("%s %d bytes, %s %d bytes", clip, clip.stat().st_size, ground_truth, ground_truth.stat().st_size)


if __name__ == "__main__":
    main()
