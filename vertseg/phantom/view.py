"""Acquisition of a scan: region of the patient, pose and voxel grid."""

from dataclasses import dataclass

import numpy as np

from vertseg.phantom.geometry import Floats, rotation
from vertseg.phantom.raster import Grid
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.subject import ATLAS_CENTRE, Subject, Vertebra

_CENTRE_LEVELS = {
    "cervical": ("C3", "C6"),
    "cervicothoracic": ("C7", "T4"),
    "thoracic": ("T5", "T9"),
    "thoracolumbar": ("T10", "L1"),
    "lumbar": ("L2", "L4"),
}

_SAGITTAL_SWAY_MM = (25.0, 75.0)
"""Room for the spine's curve.

It is sampled, since necks lean further forward than loins and the array's size would tell them
apart; a larger curve costs some of the posterior margin.
"""
_MARGIN_TO_SPARE_MM = 25.0


@dataclass(frozen=True)
class FieldOfView:
    """Name of the scanned region and its craniocaudal limits, world z in mm."""

    kind: str
    bottom: float
    top: float

    @property
    def length(self) -> float:
        """Craniocaudal extent in mm."""
        return self.top - self.bottom

    def shows(self, vertebra: Vertebra, margin: float) -> bool:
        """Whether a vertebra's centre is within `margin` mm of the field of view."""
        z = vertebra.frame.origin[2]
        return bool(self.bottom - margin < z < self.top + margin)


def sample_field_of_view(
    rng: np.random.Generator, subject: Subject, settings: PhantomSettings
) -> FieldOfView:
    """Sample a region of the spine, with a length independent of the region, "whole" excepted."""
    kinds = list(settings.field_of_view)
    weights = np.array([settings.field_of_view[kind] for kind in kinds])
    kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    if kind == "whole":
        bottom = -rng.uniform(-15, 100)
        return FieldOfView(kind, bottom, subject.height("C1") + rng.uniform(-25, 60))
    upper, lower = _CENTRE_LEVELS[kind]
    centre = rng.uniform(subject.height(lower), subject.height(upper))
    length = rng.uniform(*settings.length_mm)
    return FieldOfView(kind, centre - length / 2, centre + length / 2)


def posed(
    rng: np.random.Generator, subject: Subject, view: FieldOfView, settings: PhantomSettings
) -> Subject:
    """Tilt and turn the subject on the table about the middle of the scanned spine."""
    pitch, yaw, roll = rng.normal(0, settings.pose_sd_deg)
    turn = rotation("x", pitch) @ rotation("z", yaw) @ rotation("y", roll)
    pivot = _scanned_centres(subject, view).mean(axis=0)
    pivot[2] = (view.top + view.bottom) / 2
    return subject.moved(turn, pivot)


def sample_grid(
    rng: np.random.Generator, subject: Subject, view: FieldOfView, settings: PhantomSettings
) -> Grid:
    """Sample the voxel grid: a crop around the scanned spine or the whole cross-section."""
    in_plane = rng.uniform(*settings.in_plane_spacing_mm)
    slices = rng.uniform(*settings.slice_spacing_mm)
    sagittal = rng.random() < settings.sagittal_share
    spacing = np.array((slices, in_plane, in_plane) if sagittal else (in_plane, in_plane, slices))
    centres = _scanned_centres(subject, view)
    whole_section = rng.random() < settings.whole_section_share and not sagittal
    if whole_section:
        extent = np.array([rng.uniform(300, 400), rng.uniform(260, 330)]) * np.sqrt(subject.girth)
        middle = centres.mean(axis=0)[:2] + np.array([0, 35])
        lower, upper = middle - extent / 2, middle + extent / 2
    else:
        lateral = rng.uniform(*settings.lateral_margin_mm)
        posterior = rng.uniform(*settings.posterior_margin_mm)
        anterior = rng.uniform(*settings.anterior_margin_mm)
        skew = rng.uniform(0.8, 1.2)
        slack = float(rng.uniform(*_SAGITTAL_SWAY_MM) - np.ptp(centres[:, 1]))
        before = max(slack / 2, 0.0)
        behind = before if slack > 0 else max(slack, -_MARGIN_TO_SPARE_MM)
        lower = centres.min(axis=0)[:2] - np.array([lateral, posterior + behind])
        upper = centres.max(axis=0)[:2] + np.array([lateral * skew, anterior + before])
    origin = np.array([*lower, view.bottom])
    extent = np.array([*upper, view.top]) - origin
    x, y, z = np.maximum(np.round(extent / spacing).astype(int), 8)
    return Grid(origin, spacing, (int(x), int(y), int(z)))


def visible_share(vertebra: Vertebra, grid: Grid) -> float:
    """Share of a vertebral body, or of the ring of C1, within the grid."""
    steps = (np.arange(6) + 0.5) / 6 - 0.5
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    if vertebra.name == "C1":
        points = np.array(ATLAS_CENTRE) + lattice * (44, 38, 15)
    else:
        points = lattice * (vertebra.body_width, vertebra.body_depth, vertebra.rim_height)
    return float(grid.contains(vertebra.frame.to_world(points)).mean())


def _scanned_centres(subject: Subject, view: FieldOfView) -> Floats:
    return np.array(
        [v.frame.origin for v in subject.vertebrae.values() if view.shows(v, margin=15)]
    )
