#!/usr/bin/env bash
# vedo 2026.6.3: a surface that is turned into a given number of voxels comes out as a corner of itself.
#
# Mesh.binarize takes dims, the number of voxels of the output, and spacing, either of which may be left out;
# by default the volume covers the mesh. Expected: so it does with dims alone, in voxels that are larger the
# fewer they are. Seen: the voxels stay those of the default, a 250th of the mesh's diagonal, so that what
# comes out is the corner of the mesh's box that so many of them fill: of a vertebra's size in 40 x 40 x 40
# voxels almost nothing, in 100 x 100 x 100 a part that looks like a whole. Nothing warns.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check vedo==2026.6.3 vtk==9.7.2 numpy==2.4.6

venv/bin/python - <<'END'
import sys

import numpy as np
import vedo

mesh = vedo.Ellipsoid(axis1=(20, 0, 0), axis2=(0, 15, 0), axis3=(0, 0, 12), res=48).triangulate()
whole = mesh.volume()


def share(**options: object) -> float:
    """Volume of the voxels within the mesh, as a share of the mesh's."""
    volume = mesh.binarize(values=(1, 0), **options)
    found = float(np.count_nonzero(volume.tonumpy()) * np.prod(volume.spacing()) / whole)
    sizes = " x ".join(f"{size}" for size in volume.dimensions())
    print(f"{options}: {sizes} voxels of {volume.spacing()[0]:.2f} mm; {found:.1%} of the volume")
    return found


default, spaced = share(), share(spacing=(1.0, 1.0, 1.0))
few, more, many = (share(dims=(side, side, side)) for side in (40, 100, 400))
sys.exit(not (min(default, spaced, many) > 0.9 and few < 0.01 and 0.1 < more < 0.6))
END
