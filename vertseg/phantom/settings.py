"""Distributions of anatomy and acquisition in a phantom data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Range = tuple[float, float]

OMITTABLE = frozenset({"lungs", "ribs", "organs", "vessels", "skull", "shoulders", "pelvis"})
"""Structures that can be left out of a scan, for tests of a network's reliance on them."""


@dataclass(frozen=True)
class PhantomSettings:
    """Distributions of the phantom's anatomy and acquisition.

    Ranges are uniform. `field_of_view` and `variant` map names to probabilities; the remainder of
    `variant` is the usual spine of 7, 12 and 5 vertebrae.

    Attributes:
        in_plane_spacing_mm: voxel size within a slice.
        slice_spacing_mm: voxel size across slices.
        sagittal_share: share of sagittal series; the others are axial.
        field_of_view: weights of the scans' central regions.
        length_mm: craniocaudal extent of every field of view but "whole".
        lateral_margin_mm: extent beyond the spine's axis to either side.
        posterior_margin_mm: extent behind the vertebral bodies' centres.
        anterior_margin_mm: extent before the vertebral bodies' centres.
        whole_section_share: share of axial series that show the body's whole cross-section.
        variant: probabilities of enumeration variants.
        fracture_share: share of subjects with one to three compression fractures.
        narrow_disc_share: share of discs that are badly narrowed.
        narrow_disc: remaining share of their height.
        slip_share: share of subjects with a lumbar vertebra slipped on the one below.
        screw_share: share of scans with pedicle screws and rods.
        cement_share: share of scans with a cemented vertebra.
        contrast_share: share of contrast-enhanced scans.
        pose_sd_deg: SD of the patient's pitch, yaw and roll.
        noise_sd_hu: quantum noise of a 2.5 mm^3 voxel.
        curvature_spread: factor on the SD of the curvature of neck, thorax and loin.
        arch_bulk: factor on the thickness of a subject's vertebral arches and processes.
        degenerated_share: share of subjects with osteophytes, dense joints and end-plates, and gas
            in discs.
        cortical_hu: attenuation of cortical bone of normal density.
        cortical_width: factor on the width of the cortical rim.
        marrow_sd_hu: SD of smooth differences of attenuation within a bone.
        muscle_share: share of subjects whose psoas and back muscles stand out from fat.
        muscle_hu: attenuation of those muscles.
        muscle_leanness: limit, in SD of a smooth noise, above which those muscles are fat.
        tissue_sd_hu: SD of smooth differences of attenuation in the whole body.
        organ_sd_hu: SD of the attenuation of each organ and vessel around its usual one.
        aortic_contrast_hu: the aorta's attenuation in contrast-enhanced scans.
        calcified_share: share of subjects with calcium in the aorta's wall.
        oral_contrast_share: share of subjects whose bowel holds positive contrast agent.
        table_share: share of scans with the scanner's table, if in the field of view.
        arms_share: share of subjects with the arms beside the body.
        kernel: factor on the width of the reconstruction kernel.
        sharpening: share of fine detail that the reconstruction adds once more.
        landmark_jitter_mm: SD of the height of lungs, diaphragm, organs and shoulder girdle
            relative to the vertebrae. It keeps soft tissue from giving the level away.
        minimum_visible: smallest part of the body in the scan for a vertebra to be labelled.
        limb_share: share of scans of legs without a spine.
        sacrum_labelled: the sacrum has VerSe's value, 26, instead of background.
        tube_voltage_kv: tube voltages from which one is drawn, 80 to 140 kV; without any, HU are
            those of 120 kV and the acquisition has no error but the calibration offset.
        gain_sd: SD of the scanner's error of scale, with a tube voltage alone.
        reference_sd_hu: SD of fat's and of muscle's HU between patients, with a tube voltage alone.
        omit: structures left out, a subset of `OMITTABLE`.

    Raises:
        ValueError: `omit` names an unknown structure.
    """

    in_plane_spacing_mm: Range = (0.8, 1.4)
    slice_spacing_mm: Range = (1.5, 3.0)
    sagittal_share: float = 0.35
    field_of_view: Mapping[str, float] = field(
        default_factory=lambda: {
            "cervical": 0.14,
            "cervicothoracic": 0.12,
            "thoracic": 0.18,
            "thoracolumbar": 0.20,
            "lumbar": 0.20,
            "whole": 0.16,
        }
    )
    length_mm: Range = (190.0, 330.0)
    lateral_margin_mm: Range = (45.0, 95.0)
    posterior_margin_mm: Range = (80.0, 110.0)
    anterior_margin_mm: Range = (30.0, 90.0)
    whole_section_share: float = 0.3
    variant: Mapping[str, float] = field(
        default_factory=lambda: {"T13": 0.05, "L6": 0.08, "no T12": 0.04, "no L5": 0.03}
    )
    fracture_share: float = 0.20
    narrow_disc_share: float = 1 / 12
    narrow_disc: Range = (0.35, 0.7)
    slip_share: float = 0.0
    screw_share: float = 0.08
    cement_share: float = 0.05
    contrast_share: float = 0.40
    pose_sd_deg: tuple[float, float, float] = (5.0, 5.0, 4.0)
    noise_sd_hu: Range = (12.0, 60.0)
    curvature_spread: float = 1.0
    arch_bulk: Range = (1.0, 1.0)
    degenerated_share: float = 0.0
    cortical_hu: Range = (520.0, 950.0)
    cortical_width: Range = (1.0, 1.0)
    marrow_sd_hu: Range = (0.0, 0.0)
    muscle_share: float = 0.0
    muscle_hu: Range = (20.0, 70.0)
    muscle_leanness: Range = (-0.2, 2.5)
    tissue_sd_hu: Range = (0.0, 0.0)
    organ_sd_hu: float = 0.0
    aortic_contrast_hu: Range = (160.0, 280.0)
    calcified_share: float = 0.0
    oral_contrast_share: float = 0.0
    table_share: float = 0.0
    arms_share: float = 0.0
    kernel: Range = (0.6, 1.6)
    sharpening: Range = (0.0, 0.0)
    landmark_jitter_mm: float = 12.0
    minimum_visible: float = 0.75
    limb_share: float = 0.0
    sacrum_labelled: bool = False
    tube_voltage_kv: tuple[float, ...] = ()
    gain_sd: float = 0.015
    reference_sd_hu: float = 3.0
    omit: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse unknown structures, which would be omitted without effect."""
        unknown = self.omit - OMITTABLE
        if unknown:
            raise ValueError(f"omit: unknown {sorted(unknown)}; choose from {sorted(OMITTABLE)}")


PRESETS: dict[str, PhantomSettings] = {
    "full": PhantomSettings(),
    "demo": PhantomSettings(
        in_plane_spacing_mm=(0.9, 1.3),
        slice_spacing_mm=(1.5, 2.5),
        length_mm=(160.0, 280.0),
        field_of_view={
            "cervical": 0.18,
            "cervicothoracic": 0.16,
            "thoracic": 0.20,
            "thoracolumbar": 0.22,
            "lumbar": 0.22,
            "whole": 0.02,
        },
        lateral_margin_mm=(42.0, 58.0),
        posterior_margin_mm=(72.0, 88.0),
        anterior_margin_mm=(22.0, 40.0),
        whole_section_share=0.0,
    ),
    "randomised": PhantomSettings(
        in_plane_spacing_mm=(0.7, 1.5),
        slice_spacing_mm=(1.0, 5.0),
        sagittal_share=0.45,
        length_mm=(120.0, 330.0),
        field_of_view={
            "cervical": 0.12,
            "cervicothoracic": 0.10,
            "thoracic": 0.16,
            "thoracolumbar": 0.22,
            "lumbar": 0.26,
            "whole": 0.14,
        },
        lateral_margin_mm=(32.0, 95.0),
        posterior_margin_mm=(60.0, 115.0),
        anterior_margin_mm=(25.0, 100.0),
        pose_sd_deg=(8.0, 6.0, 5.0),
        noise_sd_hu=(8.0, 90.0),
        narrow_disc_share=0.2,
        narrow_disc=(0.1, 0.7),
        slip_share=0.25,
        curvature_spread=1.6,
        arch_bulk=(0.9, 1.5),
        degenerated_share=0.5,
        cortical_hu=(350.0, 1500.0),
        cortical_width=(0.6, 2.0),
        marrow_sd_hu=(0.0, 90.0),
        muscle_share=0.8,
        tissue_sd_hu=(2.0, 25.0),
        organ_sd_hu=25.0,
        aortic_contrast_hu=(120.0, 450.0),
        calcified_share=0.4,
        oral_contrast_share=0.25,
        table_share=0.7,
        arms_share=0.3,
        kernel=(0.4, 2.2),
        sharpening=(0.0, 1.5),
        whole_section_share=0.4,
        limb_share=0.08,
        sacrum_labelled=True,
    ),
}

PRESETS["calibration"] = replace(
    PRESETS["full"],
    field_of_view={"thoracolumbar": 0.5, "lumbar": 0.5},
    lateral_margin_mm=(60.0, 95.0),
    whole_section_share=0.5,
    muscle_share=1.0,
    muscle_hu=(55.0, 55.0),
    muscle_leanness=(1.5, 2.5),
    tube_voltage_kv=(80.0, 100.0, 120.0, 140.0),
)


def preset(name: str) -> PhantomSettings:
    """Settings by name.

    "demo" has crops around the spine as VerSe's, "full" all fields of view, and "randomised"
    unusually varied anatomy, attenuation and acquisition besides, for networks that are to work on
    real scans. "calibration" has tube voltages, contrast phases and scanners' errors, for tests of
    bone density.

    Raises:
        ValueError: the name is unknown.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown phantom preset {name!r}; choose from {sorted(PRESETS)}")
    return PRESETS[name]
