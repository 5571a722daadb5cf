"""Heights of lungs, organs, shoulders and skull relative to a patient's vertebrae.

They are sampled apart from the spine, so that no soft tissue marks a level exactly.
"""

from dataclasses import dataclass

import numpy as np

from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.subject import Subject


@dataclass(frozen=True)
class Landmarks:
    """Heights of soft tissue and shoulders, and the tilt of the head.

    Attributes:
        lung_apex_z: world z in mm of the left and the right lung's top.
        diaphragm_z: world z in mm of the left and the right dome.
        organ_shift: by organ or vessel, craniocaudal shift in mm from its usual place.
        outline_shift: craniocaudal shift in mm of the body's outline below the neck.
        shoulder_shift: craniocaudal shift in mm of the shoulder girdle.
        skull_pitch: rotation of the skull against the atlas in degrees.
        pelvis_shift: craniocaudal shift in mm of iliac wings and femoral heads.
    """

    lung_apex_z: tuple[float, float]
    diaphragm_z: tuple[float, float]
    organ_shift: dict[str, float]
    outline_shift: float
    shoulder_shift: float
    skull_pitch: float
    pelvis_shift: float


ORGANS = ("liver", "spleen", "left kidney", "right kidney", "heart", "aorta", "vena cava")


def sample_landmarks(
    rng: np.random.Generator, subject: Subject, settings: PhantomSettings
) -> Landmarks:
    """Sample the landmarks' heights around their usual level."""
    jitter = settings.landmark_jitter_mm
    apex = subject.height("T1") + 8 + rng.normal(0, jitter)
    dome = subject.height("T10") + 4 + rng.normal(0, jitter)
    asymmetry = jitter / 3
    abdomen = rng.normal(0, jitter)
    return Landmarks(
        lung_apex_z=(apex + rng.normal(0, asymmetry), apex + rng.normal(0, asymmetry)),
        diaphragm_z=(dome - 5 + rng.normal(0, asymmetry), dome + 5 + rng.normal(0, asymmetry)),
        organ_shift={organ: abdomen + rng.normal(0, jitter / 2) for organ in ORGANS},
        outline_shift=rng.normal(0, jitter),
        shoulder_shift=rng.normal(0, jitter),
        skull_pitch=rng.normal(8, 6),
        pelvis_shift=rng.normal(0, jitter / 2),
    )
