"""The spine's curve: vertebrae stacked from the sacrum upwards into a standing posture."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vertseg.phantom.geometry import Floats, Frame, rotation
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.subject import (
    Subject,
    Vertebra,
    sample_bone_density,
    sample_levels,
    sample_vertebrae,
    with_slip,
)


def sample_subject(rng: np.random.Generator, settings: PhantomSettings) -> Subject:
    """Sample an upright patient in RAS+ mm, origin in the middle of the sacral end-plate."""
    age = rng.uniform(25, 88)
    sex = "male" if rng.random() < 0.5 else "female"
    size = rng.normal(1.04 if sex == "male" else 0.95, 0.045)
    girth = float(np.clip(rng.normal(1, 0.14), 0.75, 1.4))
    variant, levels = sample_levels(rng, settings)
    bone_density = sample_bone_density(rng, age)
    vertebrae = sample_vertebrae(rng, levels, size, bone_density, settings)
    sacral_slope, vertebrae = _balanced(rng, vertebrae)
    scoliosis = _sample_scoliosis(rng, len(levels))
    stacked = _stacked(with_slip(rng, vertebrae, settings), sacral_slope, scoliosis)
    return Subject(
        age=age,
        sex=sex,
        size=size,
        girth=girth,
        variant=variant,
        bone_density=bone_density,
        vertebrae={vertebra.name: vertebra for vertebra in stacked},
        sacrum=Frame(np.zeros(3), rotation("x", -sacral_slope)),
        axes=np.eye(3),
    )


@dataclass(frozen=True)
class _Scoliosis:
    """Rotation of each vertebra from the sagittal curve, cranial to caudal, in degrees."""

    coronal: Floats
    axial: Floats


def _sample_scoliosis(rng: np.random.Generator, count: int) -> _Scoliosis:
    """A lateral bend with its axial rotation: slight in most patients, marked in one of seven."""
    marked = rng.random() < 0.15
    amplitude = rng.choice([-1, 1]) * rng.uniform(6, 18) if marked else rng.normal(0, 2.5)
    apex, width = rng.uniform(0.3, 0.7), rng.uniform(0.15, 0.3)
    from_apex = (np.linspace(1, 0, count) - apex) / width
    coronal = amplitude * np.sin(from_apex * np.pi / 2) * np.exp(-((from_apex / 1.6) ** 2))
    axial = -0.6 * amplitude * np.exp(-(from_apex**2)) + rng.normal(0, 1, count)
    return _Scoliosis(coronal, axial)


def _balanced(
    rng: np.random.Generator, vertebrae: Sequence[Vertebra]
) -> tuple[float, list[Vertebra]]:
    """Sacral slope in degrees, and vertebrae with a neck that brings the gaze level above C7."""
    plumb_line_offset, gaze = rng.normal(0, 22), rng.normal(6, 10)
    slope = rng.normal(33, 5)
    straight = _Scoliosis(np.zeros(len(vertebrae)), np.zeros(len(vertebrae)))
    names = [vertebra.name for vertebra in vertebrae]
    c7 = _stacked(vertebrae, slope, straight)[names.index("C7")].frame.origin
    slope -= np.rad2deg(np.arctan2(c7[1] - plumb_line_offset, c7[2]))
    tilt_above_c7 = slope - sum(vertebra.lordosis for vertebra in vertebrae[6:])
    neck = range(1, 6)
    missing = tilt_above_c7 - gaze - sum(vertebrae[index].lordosis for index in neck)
    return slope, [
        replace(vertebra, lordosis=vertebra.lordosis + missing / len(neck))
        if index in neck
        else vertebra
        for index, vertebra in enumerate(vertebrae)
    ]


def _stacked(
    vertebrae: Sequence[Vertebra], sacral_slope: float, scoliosis: _Scoliosis
) -> list[Vertebra]:
    """Vertebrae with their frames, each above the next by its disc and body heights.

    Vertebrae above a slipped one move with it.
    """
    tilt = sacral_slope
    top = np.zeros(3)
    stacked = []
    for vertebra, coronal, axial in zip(
        reversed(vertebrae), scoliosis.coronal[::-1], scoliosis.axial[::-1], strict=True
    ):
        tilt -= vertebra.lordosis
        axes = rotation("y", coronal) @ rotation("x", -tilt) @ rotation("z", axial)
        forwards, upwards = axes[:, 1], axes[:, 2]
        above_disc = vertebra.disc_height + vertebra.rim_height / 2
        centre = top + upwards * above_disc + forwards * vertebra.slip
        top = centre + upwards * vertebra.rim_height / 2
        stacked.append(replace(vertebra, frame=Frame(centre, axes)))
    return stacked[::-1]
