"""Vertebrae as unions of implicit primitives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vertseg.phantom.geometry import Floats, Frame
from vertseg.phantom.raster import DistanceField, Grid, Patch, capsule, ellipsoid, local_region
from vertseg.phantom.subject import Vertebra

OTHER_BONE = 255
"""Owner of all bone beside the annotated vertebrae."""
_SIDES = (-1, 1)
_WAIST = 0.13
_ROUNDNESS = 2.5
_FLATTENING = 1.08
"""Factor by which the back wall lies nearer to the body's centre than the front."""


class BonePen:
    """Draws primitives in the frame of one vertebra; `bulk` is a factor on the radii of rods."""

    def __init__(self, field: DistanceField, frame: Frame, owner: int, bulk: float = 1.0) -> None:
        self.field, self.frame, self.owner, self.bulk = field, frame, owner, bulk

    def rod(
        self,
        start: ArrayLike,
        end: ArrayLike,
        radii: tuple[float, float],
        stretch: tuple[float, float, float] = (1, 1, 1),
    ) -> None:
        """Draw a capsule, see `raster.capsule`."""
        thickness = (self.bulk * radii[0], self.bulk * radii[1])
        rod = capsule(self.field.grid, self.frame, start, end, thickness, stretch)
        self.field.add(rod, self.owner)

    def ball(self, centre: ArrayLike, semi_axes: ArrayLike) -> None:
        """Draw an ellipsoid around a local point, semi-axes in mm."""
        self.field.add(
            ellipsoid(self.field.grid, self.frame.shifted(centre), semi_axes), self.owner
        )


@dataclass(frozen=True)
class NeuralArch:
    """Local positions in mm shared by the parts of a vertebra's arch."""

    body_back: float
    pedicle_x: float
    pedicle_z: float
    joint_x: float
    joint_y: float
    lamina_y: float
    lamina_z: float


def neural_arch(vertebra: Vertebra) -> NeuralArch:
    """Lay out the arch around the spinal canal."""
    body_back = -vertebra.body_depth / 2
    half_height = vertebra.posterior_height / 2
    pedicle_x = vertebra.canal_width / 2 + vertebra.pedicle_width / 2 - 1
    pedicle_z = half_height * (0.25 if vertebra.region == "cervical" else 0.42)
    return NeuralArch(
        body_back=body_back,
        pedicle_x=pedicle_x,
        pedicle_z=pedicle_z,
        joint_x=pedicle_x + {"cervical": 4.0, "thoracic": 1.5, "lumbar": 2.5}[vertebra.region],
        joint_y=body_back - 0.62 * vertebra.canal_depth,
        lamina_y=body_back - vertebra.canal_depth,
        lamina_z=pedicle_z - 0.7 * half_height,
    )


def vertebral_body(grid: Grid, vertebra: Vertebra) -> Patch | None:
    """Super-elliptic cylinder with a waist, a flattened back and concave, wedged end-plates."""
    half_width, half_depth = vertebra.body_width / 2, vertebra.body_depth / 2
    half_size = np.array(
        [
            half_width,
            half_depth,
            max(vertebra.posterior_height, vertebra.anterior_height) / 2,
        ]
    )
    region = local_region(grid, vertebra.frame, half_size + 1)
    if region is None:
        return None
    right, anterior, superior = grid.local(region, vertebra.frame)
    forward = np.clip(anterior / np.float32(half_depth), -1, 1)
    rim = np.float32(vertebra.rim_height / 2) + forward * np.float32(
        (vertebra.anterior_height - vertebra.posterior_height) / 4
    )
    flattened = np.where(anterior < 0, anterior * np.float32(_FLATTENING), anterior)
    radius = (
        np.abs(right / np.float32(half_width)) ** _ROUNDNESS
        + np.abs(flattened / np.float32(half_depth)) ** _ROUNDNESS
    ) ** np.float32(1 / _ROUNDNESS)
    above_middle = np.clip(superior / np.maximum(rim, 1), -1, 1)
    wall = 1 - np.float32(_WAIST) * (1 - above_middle**2)
    to_wall = (radius - wall) * np.float32(min(half_width, half_depth))
    concavity = np.float32((vertebra.rim_height - vertebra.middle_height) / 2)
    end_plate = rim - concavity * np.clip(1 - radius**2, 0, 1)
    return Patch(region, np.maximum(to_wall, np.abs(superior) - end_plate))


def end_plate_points(vertebra: Vertebra) -> dict[str, dict[str, Floats]]:
    """World points (3,) in mm on the rims of the upper and the lower end-plate, by place."""
    half_width, half_depth = vertebra.body_width / 2, vertebra.body_depth / 2
    wedge = (vertebra.anterior_height - vertebra.posterior_height) / 4
    places = {
        "posterior": (0.0, -1 / _FLATTENING),
        "anterior": (0.0, 1.0),
        "left": (-1.0, 0.0),
        "right": (1.0, 0.0),
    }
    return {
        end: {
            place: vertebra.frame.to_world(
                (
                    right * half_width,
                    forward * half_depth,
                    side * (vertebra.rim_height / 2 + wedge * forward),
                )
            )
            for place, (right, forward) in places.items()
        }
        for end, side in (("upper", 1), ("lower", -1))
    }


def draw_vertebra(field: DistanceField, vertebra: Vertebra, arch_bulk: float = 1.0) -> None:
    """Add a vertebra to the distance field under its label value.

    Args:
        field: distance field of all bones.
        vertebra: the vertebra.
        arch_bulk: factor on the thickness of arch and processes.
    """
    pen = BonePen(field, vertebra.frame, vertebra.label, arch_bulk)
    if vertebra.name == "C1":
        _draw_atlas(pen, vertebra)
        return
    arch = neural_arch(vertebra)
    field.add(vertebral_body(field.grid, vertebra), vertebra.label)
    if vertebra.name == "C2":
        _draw_dens(pen, vertebra)
    elif vertebra.region == "cervical":
        _draw_uncinate_processes(pen, vertebra)
    for side in _SIDES:
        _draw_pedicle(pen, vertebra, arch, side)
        _draw_articular_processes(pen, vertebra, arch, side)
        _draw_lamina(pen, vertebra, arch, side)
        _draw_transverse_process(pen, vertebra, arch, side)
    _draw_spinous_process(pen, vertebra, arch)


def _draw_atlas(pen: BonePen, atlas: Vertebra) -> None:
    """Draw the lateral masses, joined by the anterior and the posterior arch around the dens."""
    mass_x, front, back = 0.53 * atlas.body_width, 11.5, -27.0
    tip = atlas.transverse_width / 2
    for side in _SIDES:
        pen.ball((side * mass_x, -2, 0), (8.5, 10, 7))
        pen.rod((side * mass_x, 3, 0), (side * 6, front - 1, 0), (3.2, 3.0), (1, 1, 1.5))
        pen.rod((side * 6, front - 1, 0), (0, front, 0), (3.0, 3.2), (1, 1, 1.5))
        pen.rod((side * 20, -8, 0), (side * 12, back + 5, 0), (3.2, 3.0), (1, 1, 1.3))
        pen.rod((side * 12, back + 5, 0), (0, back, 0), (3.0, 3.3), (1, 1, 1.3))
        pen.rod((side * 24, -3, -1), (side * tip, -5, -2), (4.0, 3.2))


def _draw_dens(pen: BonePen, axis: Vertebra) -> None:
    """Draw the dens and the upper joint surfaces beside it."""
    top = axis.rim_height / 2
    pen.rod((0, 0, top - 3), (0, -1, top + 14), (5.6, 4.2))
    for side in _SIDES:
        pen.ball((side * 14, -1, top - 7), (8, 8.5, 6))


def _draw_uncinate_processes(pen: BonePen, vertebra: Vertebra) -> None:
    """Draw the raised lateral edges of a cervical body's upper end-plate."""
    half_height = vertebra.rim_height / 2
    for side in _SIDES:
        edge = (side * 0.44 * vertebra.body_width, -1, half_height - 2)
        pen.ball(edge, (3.6, 0.4 * vertebra.body_depth, 4.2))


def _draw_pedicle(pen: BonePen, vertebra: Vertebra, arch: NeuralArch, side: int) -> None:
    radius = vertebra.pedicle_width / 2
    tall = max(vertebra.pedicle_height / vertebra.pedicle_width, 1) ** 0.8
    at_body = min(arch.pedicle_x, 0.425 * vertebra.body_width)
    pen.rod(
        (side * at_body, arch.body_back + 3, arch.pedicle_z),
        (side * arch.pedicle_x, arch.body_back - 0.55 * vertebra.canal_depth, arch.pedicle_z),
        (radius, radius),
        (1, 1, tall),
    )


def _draw_articular_processes(
    pen: BonePen, vertebra: Vertebra, arch: NeuralArch, side: int
) -> None:
    reach = (vertebra.posterior_height + vertebra.disc_height) / 2
    radius = {"cervical": 4.2, "thoracic": 4.4, "lumbar": 6.0}[vertebra.region]
    pen.rod(
        (side * arch.joint_x, arch.joint_y + 1.5, arch.pedicle_z + 0.55 * reach),
        (side * (arch.joint_x - 1), arch.joint_y - 3, arch.pedicle_z - 1.05 * reach),
        (radius, 0.85 * radius),
    )


def _draw_lamina(pen: BonePen, vertebra: Vertebra, arch: NeuralArch, side: int) -> None:
    thickness = {"cervical": 2.8, "thoracic": 3.2, "lumbar": 3.6}[vertebra.region]
    pen.rod(
        (side * (arch.joint_x - 2), arch.joint_y - 1, arch.pedicle_z - 2),
        (side * 1.5, arch.lamina_y - thickness, arch.lamina_z),
        (thickness, thickness),
        (1, 1, 1.5 if vertebra.region == "cervical" else 2.3),
    )


def _draw_transverse_process(pen: BonePen, vertebra: Vertebra, arch: NeuralArch, side: int) -> None:
    tip_x = side * vertebra.transverse_width / 2
    root = (side * arch.joint_x, arch.joint_y, arch.pedicle_z)
    if vertebra.region == "cervical":
        tip = (tip_x, -5.0, -3.0)
        pen.rod((side * 0.45 * vertebra.body_width, -1, -1), tip, (3.2, 3.2))
        pen.rod(root, tip, (3.0, 3.2))
    elif vertebra.region == "lumbar":
        before_joint = (root[0], arch.joint_y + 4, arch.pedicle_z)
        tip = (tip_x, arch.joint_y - 5, arch.pedicle_z + 1)
        pen.rod(before_joint, tip, (4.4, 3.0), (1, 1, 1.6))
    elif vertebra.has_long_rib:
        pen.rod(root, (tip_x, arch.joint_y - 14, arch.pedicle_z + 3), (5.0, 5.2))
    else:
        pen.rod(root, (tip_x, arch.joint_y - 8, arch.pedicle_z + 1), (5.0, 4.0))


def _draw_spinous_process(pen: BonePen, vertebra: Vertebra, arch: NeuralArch) -> None:
    length = max(vertebra.spinous_length - vertebra.canal_depth - 2, 8)
    angle = np.deg2rad(vertebra.spinous_angle)
    root = (0.0, arch.lamina_y - 2, arch.lamina_z)
    tip = (0.0, root[1] - length * np.cos(angle), root[2] - length * np.sin(angle))
    if vertebra.region == "cervical":
        pen.rod(root, tip, (3.0, 2.8), (1, 1, 1.5))
        if vertebra.name != "C7":
            for side in _SIDES:
                pen.rod(tip, (side * 5, tip[1] - 4, tip[2] - 2), (2.6, 2.3))
    elif vertebra.has_long_rib:
        pen.rod(root, tip, (4.0, 3.2), (1, 1, 1.8))
    else:
        pen.rod(root, tip, (3.4, 4.0), (1, 1, 2.7))
