"""A call of `vertseg predict` that stops where a test wants: in the scan named `halt`.

python stopping_call.py WHERE ARGUMENTS...

WHERE is `predict` (the network runs) or `publish` (some of the scan's files are in their places).
The network is the phantom's oracle. "halted" is printed when the call has come so far.
"""

import sys
import time
from pathlib import Path

from oracle import oracle

from vertseg import cli
from vertseg.phantom import generate_phantom, preset
from vertseg.predict import pipeline
from vertseg.segmentation import model

SEED = 11
where, *arguments = sys.argv[1:]
known = oracle(generate_phantom(SEED, preset("demo")))
model.load_model = lambda *_: known
original_predict, original_replace = pipeline._predict, Path.replace


def halt() -> None:
    print("halted", flush=True)
    time.sleep(600)


def halting_predict(scan, *rest):
    if scan.name == "halt" and where == "predict":
        halt()
    return original_predict(scan, *rest)


def halting_replace(path: Path, target: Path) -> Path:
    if path.name == "halt_seg-vert_msk.nii.gz" and path.parent.name == "files":
        halt()
    return original_replace(path, target)


pipeline._predict = halting_predict
if where == "publish":
    Path.replace = halting_replace
sys.exit(cli.main(arguments))
