#!/usr/bin/env bash
# three.js 0.187.0: NRRDLoader mirrors the directions of a leaning or sagittal scan in patient coordinates.
#
# NRRD files of CT have the space left-posterior-superior (3D Slicer, ITK), and the loader's matrix leads
# from voxels to right-anterior-superior. Expected: a step along an axis of the scan goes where the file
# says, with x and y negated. Seen: signs are changed on the scan's first and second axes instead of the
# patient's, which is the same for a straight axial scan alone: slices that lean by 20 degrees lean the
# other way, and a sagittal scan has its left and right, front and back, or head and feet exchanged.
#
# Exits with 0 while that is so, with 1 once it has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts three@0.187.0 > npm.log 2>&1 || { cat npm.log >&2; exit 1; }

cat > read.mjs <<'END'
import { Vector3 } from "three";
import { NRRDLoader } from "three/examples/jsm/loaders/NRRDLoader.js";

const SIZES = [40, 50, 60];
const SPACING = [0.8, 0.9, 2.5];
const [c, s] = [Math.cos(Math.PI / 9), Math.sin(Math.PI / 9)];
// Unit directions of the scan's axes in left, posterior, superior.
const SCANS = {
  straight: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  leaning: [[1, 0, 0], [0, c, s], [0, -s, c]],
  sagittal: [[0, 1, 0], [0, 0, -1], [-1, 0, 0]],
};

function nrrd(directions) {
  const vectors = directions.map((unit, axis) => `(${unit.map((value) => value * SPACING[axis]).join(",")})`);
  const header = [
    "NRRD0004", "type: short", "dimension: 3", "space: left-posterior-superior", `sizes: ${SIZES.join(" ")}`,
    `space directions: ${vectors.join(" ")}`, "kinds: domain domain domain", "endian: little", "encoding: raw",
    "space origin: (0,0,0)", "", "",
  ].join("\n");
  const voxels = new Uint8Array(new Int16Array(SIZES[0] * SIZES[1] * SIZES[2]).buffer);
  const head = new TextEncoder().encode(header);
  const file = new Uint8Array(head.length + voxels.length);
  file.set(head);
  file.set(voxels, head.length);
  return file.buffer;
}

// mm between the last voxel's place by the loader's matrix and by the file, both from the first voxel.
function error(directions) {
  const volume = new NRRDLoader().parse(nrrd(directions));
  const last = SIZES.map((size) => size - 1);
  const lps = [0, 1, 2].map((row) => directions.reduce((sum, unit, axis) => sum + unit[row] * SPACING[axis] * last[axis], 0));
  const first = new Vector3(0, 0, 0).applyMatrix4(volume.matrix);
  const found = new Vector3(...last).applyMatrix4(volume.matrix).sub(first);
  return found.distanceTo(new Vector3(-lps[0], -lps[1], lps[2]));
}

const found = {};
for (const [name, directions] of Object.entries(SCANS)) {
  found[name] = error(directions);
  console.log(`${name}: last voxel ${found[name].toFixed(1)} mm off`);
}
process.exit(found.straight < 1e-3 && found.leaning > 30 && found.sagittal > 30 ? 0 : 1);
END
node read.mjs
