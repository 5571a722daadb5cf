#!/usr/bin/env bash
# vtk.js 37.4.3: a surface of an oblique or mirrored scan lies elsewhere than the scan.
#
# Images of vtk.js have a direction, which their indexToWorld follows; with -1 in it an axis runs the other
# way. Expected: vtkImageMarchingCubes puts its points on the voxels, as vtkImageMarchingSquares does with
# the same image. Seen: it takes origin and spacing alone, so that a ball 40 mm along one mirrored axis
# and 14 mm along another has its surface 85 mm away.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts @kitware/vtk.js@37.4.3 > npm.log 2>&1 || { cat npm.log >&2; exit 1; }

cat > surface.mjs <<'END'
import vtkImageData from "@kitware/vtk.js/Common/DataModel/ImageData.js";
import vtkDataArray from "@kitware/vtk.js/Common/Core/DataArray.js";
import vtkImageMarchingCubes from "@kitware/vtk.js/Filters/General/ImageMarchingCubes.js";
import vtkImageMarchingSquares from "@kitware/vtk.js/Filters/General/ImageMarchingSquares.js";

const SIDE = 30;
const CENTRE = [20, 14, 9];

function scan(direction) {
  const image = vtkImageData.newInstance({ spacing: [2, 1, 1.5], origin: [10, -20, 30], direction });
  image.setDimensions(SIDE, SIDE, SIDE);
  const values = new Float32Array(SIDE ** 3);
  for (let k = 0, at = 0; k < SIDE; k++) {
    for (let j = 0; j < SIDE; j++) {
      for (let i = 0; i < SIDE; i++, at++) {
        values[at] = 6 - Math.hypot(i - CENTRE[0], j - CENTRE[1], k - CENTRE[2]);
      }
    }
  }
  image.getPointData().setScalars(vtkDataArray.newInstance({ numberOfComponents: 1, values }));
  return image;
}

// Middle of a surface's or outline's points, in mm.
function middle(filter, image) {
  filter.setInputData(image);
  filter.update();
  const points = filter.getOutputData().getPoints().getData();
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  points.forEach((value, at) => {
    low[at % 3] = Math.min(low[at % 3], value);
    high[at % 3] = Math.max(high[at % 3], value);
  });
  return low.map((value, axis) => (value + high[axis]) / 2);
}

const [c, s] = [Math.cos(0.35), Math.sin(0.35)];
const found = {};
for (const [name, direction] of Object.entries({
  straight: [1, 0, 0, 0, 1, 0, 0, 0, 1],
  mirrored: [-1, 0, 0, 0, -1, 0, 0, 0, 1],
  oblique: [c, s, 0, -s, c, 0, 0, 0, 1],
})) {
  const image = scan(direction);
  const true_ = image.indexToWorld(CENTRE, []);
  const apart = (place) => Math.hypot(...place.map((value, axis) => value - true_[axis]));
  const surface = vtkImageMarchingCubes.newInstance({ contourValue: 0, computeNormals: false, mergePoints: true });
  const outline = vtkImageMarchingSquares.newInstance({ contourValues: [0], slicingMode: 2, slice: CENTRE[2] });
  found[name] = [apart(middle(surface, image)), apart(middle(outline, image))];
  console.log(`${name}: surface ${found[name][0].toFixed(1)} mm off, outline of a slice ${found[name][1].toFixed(1)} mm`);
}
const outlines = Object.values(found).every((pair) => pair[1] < 1);
const surfaces = found.straight[0] < 1 && found.mirrored[0] > 70 && found.oblique[0] > 10;
process.exit(outlines && surfaces ? 0 : 1);
END
node surface.mjs
