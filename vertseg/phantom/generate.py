"""A phantom scan from a seed: anatomy first, then the part of it within the scan."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertseg.anatomy.labels import SACRUM
from vertseg.phantom.acquisition import (
    density_mg_cc,
    describe_acquisition,
    expose,
    sample_acquisition,
)
from vertseg.phantom.bones import OTHER_BONE, draw_vertebra, end_plate_points
from vertseg.phantom.degeneration import (
    Wear,
    draw_osteophytes,
    fill_vacuum,
    sample_bone_look,
    sample_wear,
)
from vertseg.phantom.geometry import Floats
from vertseg.phantom.limb import draw_limb
from vertseg.phantom.raster import DistanceField, Grid
from vertseg.phantom.scanner import Implants, acquire, fill_bone, place_implants, sample_implants
from vertseg.phantom.scene import Scene, sample_scene
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.skeleton import draw_skeleton
from vertseg.phantom.streams import RandomStreams
from vertseg.phantom.subject import Subject
from vertseg.phantom.surroundings import draw_muscles, draw_surroundings, vary_tissue
from vertseg.phantom.tissue import fill_body, fill_brain, fill_discs_and_canal
from vertseg.phantom.view import visible_share
from vertseg.phantom.viscera import fill_viscera, sample_viscera_look


@dataclass(frozen=True)
class Phantom:
    """A labelled scan.

    Attributes:
        ct: HU, (x, y, z) int16, RAS+.
        mask: VerSe's labels, (x, y, z) uint8.
        affine: (4, 4) voxel to world, mm.
        centroids_mm: centre of each labelled vertebral body in world mm, by label value.
        truth: anatomy and acquisition as plain values for JSON; see docs/phantom.md.
    """

    ct: NDArray[np.int16]
    mask: NDArray[np.uint8]
    affine: Floats
    centroids_mm: dict[int, Floats]
    truth: dict[str, Any]


def generate_phantom(seed: int, settings: PhantomSettings) -> Phantom:
    """Generate one scan; the same seed and settings give the same bytes.

    Each stage draws from a random stream of its own, so `settings.omit` changes nothing but the
    structures left out.
    """
    streams = RandomStreams.from_seed(seed)
    if streams.limb.random() < settings.limb_share:
        return generate_limb(streams.limb, settings)
    acquisition, settings = sample_acquisition(streams.acquisition, settings)
    scene = sample_scene(streams, settings)
    subject = scene.subject
    wear = sample_wear(streams.degeneration, subject, settings)
    bones = draw_bones(streams.bones, scene, wear)
    labelled = [
        name
        for name, vertebra in subject.vertebrae.items()
        if visible_share(vertebra, scene.grid) >= settings.minimum_visible
    ]
    implants = sample_implants(streams.scan, labelled, settings)

    canvas = fill_body(streams.tissue, scene)
    draw_muscles(streams.surroundings, canvas, scene)
    fill_discs_and_canal(streams.tissue, canvas, scene)
    fill_vacuum(canvas, scene, wear)
    fill_brain(canvas, scene)
    viscera_look = sample_viscera_look(streams.viscera, settings)
    fill_viscera(streams.tissue, canvas, scene, viscera_look)
    vary_tissue(streams.surroundings, canvas, settings)
    draw_surroundings(streams.surroundings, canvas, bones, scene)
    bone_look = sample_bone_look(streams.degeneration, scene, wear)
    fill_bone(streams.scan, canvas, bones, scene, bone_look)
    if acquisition is not None:
        expose(canvas, bones, acquisition)
    place_implants(streams.scan, canvas, subject, implants)
    sharpening = streams.degeneration.uniform(*settings.sharpening)
    ct, offset_hu = acquire(streams.scan, scene.grid, canvas.hu, settings, sharpening)
    return Phantom(
        ct=ct,
        mask=label_map(bones, subject, labelled, settings.sacrum_labelled),
        affine=scene.grid.affine,
        centroids_mm={subject.vertebrae[n].label: subject.vertebrae[n].centre for n in labelled},
        truth=describe(scene, labelled, implants, offset_hu)
        | (describe_acquisition(acquisition) if acquisition is not None else {}),
    )


def draw_bones(rng: np.random.Generator, scene: Scene, wear: Wear) -> DistanceField:
    """Distance field of all bones that reach into the scan."""
    bones = DistanceField(scene.grid)
    for vertebra in scene.subject.vertebrae.values():
        if scene.view.shows(vertebra, margin=60):
            draw_vertebra(bones, vertebra, wear.arch_bulk)
            draw_osteophytes(bones, vertebra, wear)
    draw_skeleton(rng, bones, scene)
    return bones


def generate_limb(rng: np.random.Generator, settings: PhantomSettings) -> Phantom:
    """Generate a scan of legs without a spine and without labels."""
    grid, hu = draw_limb(rng, settings)
    ct, offset_hu = acquire(rng, grid, hu, settings, rng.uniform(*settings.sharpening))
    return Phantom(
        ct=ct,
        mask=np.zeros(grid.shape, np.uint8),
        affine=grid.affine,
        centroids_mm={},
        truth={
            "levels": [],
            "fractures": {},
            "slips_mm": {},
            "implants": {"screws": [], "cement": []},
            "trabecular_hu": {},
            "bmd_mg_cc": {},
            "body_heights_mm": {},
            "end_plates_mm": {},
            **describe_scan("limb", grid, offset_hu),
        },
    )


def label_map(
    bones: DistanceField, subject: Subject, labelled: list[str], sacrum: bool
) -> NDArray[np.uint8]:
    """Label map of the labelled vertebrae and, if wished, of the sacrum.

    Other bone and cut vertebrae are background.
    """
    value_of = np.zeros(OTHER_BONE + 1, dtype=np.uint8)
    for name in labelled:
        label = subject.vertebrae[name].label
        value_of[label] = label
    if sacrum:
        value_of[SACRUM] = SACRUM
    return value_of[bones.owner] * (bones.distance < 0)


def describe(
    scene: Scene, labelled: list[str], implants: Implants, offset_hu: float
) -> dict[str, Any]:
    """Ground truth of a phantom as plain values; entries by level are those of labelled levels."""
    subject = scene.subject
    visible = [subject.vertebrae[name] for name in labelled]
    return {
        "age_years": round(subject.age, 1),
        "sex": subject.sex,
        "variant": subject.variant,
        "levels": labelled,
        "fractures": {v.name: v.fracture for v in visible if v.fracture},
        "slips_mm": {v.name: round(float(v.slip), 1) for v in visible if v.slip},
        "implants": {"screws": list(implants.screws), "cement": list(implants.cement)},
        "contrast": scene.contrast,
        **describe_scan(scene.view.kind, scene.grid, offset_hu),
        "trabecular_hu": {v.name: round(v.trabecular_hu, 1) for v in visible},
        "bmd_mg_cc": {v.name: round(density_mg_cc(v.trabecular_hu), 1) for v in visible},
        "body_heights_mm": {
            v.name: {
                "anterior": round(v.anterior_height, 2),
                "middle": round(v.middle_height, 2),
                "posterior": round(v.posterior_height, 2),
            }
            for v in visible
            if v.name != "C1"
        },
        "end_plates_mm": {
            v.name: {
                end: {place: point.round(2).tolist() for place, point in points.items()}
                for end, points in end_plate_points(v).items()
            }
            for v in visible
            if v.name != "C1"
        },
    }


def describe_scan(kind: str, grid: Grid, offset_hu: float) -> dict[str, Any]:
    """Acquisition of a phantom as plain values."""
    return {
        "calibration_offset_hu": round(offset_hu, 2),
        "field_of_view": {
            "kind": kind,
            "shape": list(grid.shape),
            "spacing_mm": [round(float(step), 3) for step in grid.spacing],
        },
    }
