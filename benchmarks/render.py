"""How long one optimisation step takes, beside what it may take on two CPU cores: `python -m benchmarks.render`.

A step is: head model, camera, normals, shading of 512² texels, antialiasing, mean absolute error against an image, the
gradient of all of it, and Adam on the texture. Other work on the machine makes a step slower, never faster, so that the
fastest of many is the number to compare; the median says how busy the machine was.

torch itself has one thread: the pause in which its threads spin after each operation takes the cores from the
renderer's (measured on a busy two-core machine: 10 × slower with two).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch

from raytrack.geometry.camera import monocular_camera
from raytrack.geometry.harmonics import white_light
from raytrack.head.library import load_head
from raytrack.head.parameters import FrameParameters
from raytrack.render import make_renderer, warm_up
from raytrack.render.protocol import Renderer, Topology

ACCEPT_MS = {(256, 1): 20.0, (256, 8): 10.0, (512, 1): 40.0, (512, 8): 28.0}
"""Per frame, by image size and batch: the accept rows of the design, for two cores."""
TEXTURE_SIZE = 512


def head_renderer(name: str, num_threads: int) -> Renderer:
    """The shipped head under a back end."""
    shape = load_head("default").topology()
    topology = Topology(faces=shape.faces, uv=shape.uv, uv_faces=shape.uv_faces, num_vertices=shape.num_vertices)
    if name == "numba":
        return make_renderer(name, topology, num_threads=num_threads)
    return make_renderer("nvdiffrast", topology, walk=name.endswith("walk"))


def optimisation_step(renderer: Renderer, size: int, frames: int, *, head_model: bool) -> Callable[[], None]:
    """A function that does one step; with the head's own gradient or with fixed vertices."""
    device = "cuda" if renderer.name == "nvdiffrast" else "cpu"
    head = load_head("default").to(device)
    torch.manual_seed(0)
    parameters = torch.zeros(frames, FrameParameters.zeros(1, head.num_expressions).pack().shape[1])
    parameters[:, :3] = 0.3 * torch.randn(frames, 3)
    parameters = parameters.to(device).requires_grad_(head_model)
    shape = torch.zeros(head.shape_basis.shape[0], device=device, requires_grad=head_model)
    fixed = head.vertices(FrameParameters.unpack(parameters.detach()), shape.detach())
    centre = (fixed.amin(dim=(0, 1)) + fixed.amax(dim=(0, 1))) / 2
    camera = monocular_camera(torch.tensor(2.4 * size), (size, size)).to(device)
    texture = torch.rand(TEXTURE_SIZE, TEXTURE_SIZE, 3).to(device).requires_grad_()
    light = white_light()[None].to(device).clone().requires_grad_()
    target = torch.rand(frames, size, size, 3).to(device)
    optimiser = torch.optim.Adam([texture], lr=1e-3, fused=True)

    def step() -> None:
        vertices = fixed - centre
        if head_model:
            vertices = head.vertices(FrameParameters.unpack(parameters), shape) - centre
        clip = camera.clip(vertices).requires_grad_()
        image, fragments = renderer.shade(clip, renderer.vertex_normals(vertices), texture, light, target)
        loss = (renderer.antialias(image, clip, fragments) - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def measure(step: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Fastest and median time of a call, in milliseconds, from as many as fit into some seconds (at least five)."""
    step()
    times: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 5:
        before = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - before))
    return min(times), statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", choices=("numba", "nvdiffrast", "nvdiffrast-walk"), default="numba")
    parser.add_argument("--threads", type=int, default=2, help="of the numba renderer (default: 2)")
    parser.add_argument("--seconds", type=float, default=4.0, help="to spend on each row (default: 4)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    warm_up()
    print(f"kernels ready in {time.perf_counter() - start:.1f} s")
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    where = f"numba, {arguments.threads} threads"
    if arguments.renderer != "numba":
        where = f"{arguments.renderer}, {torch.cuda.get_device_name()}"
    print(f"{where}, {TEXTURE_SIZE}² texels; load average {load} on {os.cpu_count()} cores")
    print("ms per frame:            render step                with head model")
    print("  image  batch     fastest   median         fastest   median       accept   ratio")
    renderer = head_renderer(arguments.renderer, arguments.threads)
    for (size, frames), accept in ACCEPT_MS.items():
        row = [
            measure(optimisation_step(renderer, size, frames, head_model=head_model), arguments.seconds)
            for head_model in (False, True)
        ]
        (fastest, median), (fastest_all, median_all) = [(low / frames, middle / frames) for low, middle in row]
        print(
            f"{size:5}²  {frames:5}  {fastest:10.1f} {median:8.1f} {fastest_all:15.1f} {median_all:8.1f}"
            f" {accept:12.0f} {fastest_all / accept:7.2f}"
        )


if __name__ == "__main__":
    main()
