"""A phantom scan from a seed: anatomy first, then only what the scan shows of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertseg.phantom.bones import OTHER_BONE, draw_vertebra
from vertseg.phantom.degeneration import (
    draw_osteophytes,
    fill_vacuum,
    sample_bone_look,
    sample_wear,
)
from vertseg.phantom.geometry import Floats
from vertseg.phantom.landmarks import sample_landmarks
from vertseg.phantom.limb import draw_limb
from vertseg.phantom.raster import DistanceField, Grid
from vertseg.phantom.scanner import Implants, acquire, fill_bone, place_implants, sample_implants
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.skeleton import draw_skeleton
from vertseg.phantom.spine import sample_subject
from vertseg.phantom.subject import Subject
from vertseg.phantom.surroundings import draw_muscles, draw_surroundings, vary_tissue
from vertseg.phantom.tissue import fill_body, fill_brain, fill_discs_and_canal
from vertseg.phantom.view import (
    FieldOfView,
    posed,
    sample_field_of_view,
    sample_grid,
    visible_share,
)
from vertseg.phantom.viscera import fill_viscera, sample_viscera_look


@dataclass(frozen=True)
class Phantom:
    """A labelled scan.

    Attributes:
        ct: HU, (x, y, z) int16, RAS+.
        mask: VerSe labels, (x, y, z) uint8.
        affine: (4, 4) voxel to world, mm.
        centroids_mm: centre of each labelled vertebral body in world mm, by label value.
        truth: what was generated, ready for JSON; see docs/phantom.md.
    """

    ct: NDArray[np.int16]
    mask: NDArray[np.uint8]
    affine: Floats
    centroids_mm: dict[int, Floats]
    truth: dict[str, Any]


def generate_phantom(seed: int, settings: PhantomSettings) -> Phantom:
    """Generate one scan; the same seed and settings give the same bytes.

    Each stage draws from its own random stream, so `settings.omit` changes nothing but the
    structures left out.
    """
    (
        anatomy_rng,
        view_rng,
        landmark_rng,
        bone_rng,
        tissue_rng,
        scan_rng,
        degeneration_rng,
        viscera_rng,
        surroundings_rng,
        limb_rng,
    ) = (np.random.default_rng(sequence) for sequence in np.random.SeedSequence(seed).spawn(10))
    if limb_rng.random() < settings.limb_share:
        return generate_limb(limb_rng, settings)
    upright = sample_subject(anatomy_rng, settings)
    view = sample_field_of_view(view_rng, upright, settings)
    subject = posed(view_rng, upright, view, settings)
    grid = sample_grid(view_rng, subject, view, settings)
    landmarks = sample_landmarks(landmark_rng, subject, settings)
    contrast = bool(view_rng.random() < settings.contrast_share)

    wear = sample_wear(degeneration_rng, subject, settings)
    bones = DistanceField(grid)
    for vertebra in subject.vertebrae.values():
        if view.shows(vertebra, margin=60):
            draw_vertebra(bones, vertebra, wear.arch_bulk)
            draw_osteophytes(bones, vertebra, wear)
    draw_skeleton(bones, subject, landmarks, settings, bone_rng)
    labelled = [
        name
        for name, vertebra in subject.vertebrae.items()
        if visible_share(vertebra, grid) >= settings.minimum_visible
    ]
    implants = sample_implants(scan_rng, labelled, settings)

    canvas = fill_body(tissue_rng, grid, subject, landmarks)
    draw_muscles(surroundings_rng, canvas, subject, view, settings)
    fill_discs_and_canal(tissue_rng, canvas, subject, view)
    fill_vacuum(canvas, subject, view, wear)
    fill_brain(canvas, subject, landmarks)
    viscera_look = sample_viscera_look(viscera_rng, settings)
    fill_viscera(tissue_rng, canvas, subject, view, landmarks, settings, contrast, viscera_look)
    vary_tissue(surroundings_rng, canvas, settings)
    draw_surroundings(surroundings_rng, canvas, bones, subject, settings)
    look = sample_bone_look(degeneration_rng, grid, subject, view, wear, settings)
    fill_bone(scan_rng, canvas, bones, subject, settings, look)
    place_implants(scan_rng, canvas, subject, implants)
    sharpening = degeneration_rng.uniform(*settings.sharpening)
    ct, offset_hu = acquire(scan_rng, grid, canvas.hu, settings, sharpening)
    return Phantom(
        ct=ct,
        mask=label_map(bones, subject, labelled),
        affine=grid.affine,
        centroids_mm={subject.vertebrae[n].label: subject.vertebrae[n].centre for n in labelled},
        truth=describe(subject, view, grid, labelled, implants, contrast, offset_hu),
    )


def generate_limb(rng: np.random.Generator, settings: PhantomSettings) -> Phantom:
    """Generate a scan that shows no spine: nothing is labelled."""
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
            "body_heights_mm": {},
            **describe_scan("limb", grid, offset_hu),
        },
    )


def label_map(bones: DistanceField, subject: Subject, labelled: list[str]) -> NDArray[np.uint8]:
    """The labelled vertebrae's voxels; other bone and cut vertebrae are background."""
    value_of = np.zeros(OTHER_BONE + 1, dtype=np.uint8)
    for name in labelled:
        label = subject.vertebrae[name].label
        value_of[label] = label
    return value_of[bones.owner] * (bones.distance < 0)


def describe(
    subject: Subject,
    view: FieldOfView,
    grid: Grid,
    labelled: list[str],
    implants: Implants,
    contrast: bool,
    offset_hu: float,
) -> dict[str, Any]:
    """The ground truth of a phantom as plain values; per-level entries for labelled levels."""
    visible = [subject.vertebrae[name] for name in labelled]
    return {
        "age_years": round(subject.age, 1),
        "sex": subject.sex,
        "variant": subject.variant,
        "levels": labelled,
        "fractures": {v.name: v.fracture for v in visible if v.fracture},
        "slips_mm": {v.name: round(float(v.slip), 1) for v in visible if v.slip},
        "implants": {"screws": list(implants.screws), "cement": list(implants.cement)},
        "contrast": contrast,
        **describe_scan(view.kind, grid, offset_hu),
        "trabecular_hu": {v.name: round(v.trabecular_hu, 1) for v in visible},
        "body_heights_mm": {
            v.name: {
                "anterior": round(v.anterior_height, 2),
                "middle": round(v.middle_height, 2),
                "posterior": round(v.posterior_height, 2),
            }
            for v in visible
            if v.name != "C1"
        },
    }


def describe_scan(kind: str, grid: Grid, offset_hu: float) -> dict[str, Any]:
    """The acquisition as plain values."""
    return {
        "calibration_offset_hu": round(offset_hu, 2),
        "field_of_view": {
            "kind": kind,
            "shape": list(grid.shape),
            "spacing_mm": [round(float(step), 3) for step in grid.spacing],
        },
    }
