"""The patient: age, size, variant and the dimensions of every vertebra."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from vertseg.anatomy.labels import IDS, NAMES, RANK, region
from vertseg.phantom.geometry import Floats, Frame
from vertseg.phantom.morphometry import morphometry
from vertseg.phantom.settings import PhantomSettings

USUAL_LEVELS = tuple(NAMES[label] for label in (*range(1, 20), *range(20, 25)))
_VARIANTS: dict[str, tuple[str, ...]] = {
    "T13": (*USUAL_LEVELS, "T13"),
    "L6": (*USUAL_LEVELS, "L6"),
    "no T12": tuple(level for level in USUAL_LEVELS if level != "T12"),
    "no L5": tuple(level for level in USUAL_LEVELS if level != "L5"),
}
_FRACTURE_PRONE = frozenset({"T7", "T8", "T12", "L1"})
ATLAS_CENTRE = (0.0, -6.0, 0.0)
"""Local point of C1, which has no body: the centre of mass of its ring, behind the dens.

VerSe's points of C1 lie there, too."""


@dataclass(frozen=True)
class Vertebra:
    """One vertebra; lengths in mm, angles in degrees, further dimensions as in `morphometry.tsv`.

    Attributes:
        frame: its origin is the centre of the vertebral body, of the dens for C1.
        posterior_height: distance between the posterior rims of the end-plates.
        anterior_height: distance between the anterior rims.
        middle_height: distance between the end-plates' deepest points.
        fracture: "wedge", "biconcave", "crush" or None.
        slip: distance by which it lies before its usual place above the next vertebra.
    """

    name: str
    frame: Frame
    body_width: float
    body_depth: float
    posterior_height: float
    anterior_height: float
    middle_height: float
    disc_height: float
    canal_width: float
    canal_depth: float
    transverse_width: float
    spinous_length: float
    spinous_angle: float
    pedicle_width: float
    pedicle_height: float
    lordosis: float
    trabecular_hu: float
    fracture: str | None = None
    slip: float = 0.0

    @property
    def label(self) -> int:
        """VerSe's label value."""
        return IDS[self.name]

    @property
    def region(self) -> str:
        """Region of the spine: cervical, thoracic or lumbar."""
        return region(self.label)

    @property
    def rim_height(self) -> float:
        """Mean of the anterior and the posterior height."""
        return (self.posterior_height + self.anterior_height) / 2

    @property
    def centre(self) -> Floats:
        """Annotated world point (3,) in mm: the body's centre."""
        return self.frame.to_world(ATLAS_CENTRE) if self.name == "C1" else self.frame.origin

    @property
    def has_long_rib(self) -> bool:
        """Whether the transverse processes carry ribs, as from T1 to T10."""
        return self.region == "thoracic" and self.name not in ("T11", "T12", "T13")


@dataclass(frozen=True)
class Subject:
    """A patient.

    Attributes:
        age: years.
        sex: "male" or "female".
        size: length relative to the average adult.
        girth: girth relative to the average adult.
        variant: enumeration variant, None for the usual spine.
        bone_density: factor on the trabecular HU of a 50-year-old.
        vertebrae: by level name, cranial to caudal.
        sacrum: frame at the middle of the sacral end-plate, its superior axis the plate's normal.
        axes: (3, 3) right, anterior and superior directions of the patient as columns.
    """

    age: float
    sex: str
    size: float
    girth: float
    variant: str | None
    bone_density: float
    vertebrae: dict[str, Vertebra]
    sacrum: Frame
    axes: Floats

    def height(self, level: str) -> float:
        """World z in mm of a level's centre."""
        return float(self.vertebrae[level].frame.origin[2])

    def at(self, level: str, offset: Sequence[float] | Floats) -> Frame:
        """Frame in the patient's axes, `offset` (mm, for average size) from a level's centre."""
        origin = self.vertebrae[level].frame.origin
        return Frame(origin, self.axes).shifted(np.asarray(offset) * self.size)

    def moved(self, turn: Floats, pivot: Floats) -> "Subject":
        """The subject rotated in world space about a pivot."""
        return replace(
            self,
            vertebrae={
                name: replace(vertebra, frame=vertebra.frame.moved(turn, pivot))
                for name, vertebra in self.vertebrae.items()
            },
            sacrum=self.sacrum.moved(turn, pivot),
            axes=turn @ self.axes,
        )


def sample_levels(
    rng: np.random.Generator, settings: PhantomSettings
) -> tuple[str | None, list[str]]:
    """Sample a variant, None for the usual spine, and its levels, cranial to caudal."""
    names = list(settings.variant)
    shares = [settings.variant[name] for name in names]
    choice = rng.choice(len(names) + 1, p=[*shares, 1 - sum(shares)])
    variant = names[choice] if choice < len(names) else None
    levels = _VARIANTS[variant] if variant else USUAL_LEVELS
    return variant, sorted(levels, key=lambda level: RANK[IDS[level]])


def sample_bone_density(rng: np.random.Generator, age: float) -> float:
    """Sample trabecular density relative to the mean of L1 in `morphometry.tsv`.

    The mean is 226 HU up to 30 years and falls by 2.5 HU a year (Jang et al., Radiology
    2019;291:360-367, in 20 374 CT scans).
    """
    first_lumbar_hu = 226 - 2.5 * max(age - 30, 0) + rng.normal(0, 32)
    return float(np.clip(first_lumbar_hu, 45, 300) / morphometry()["L1"].trabecular_hu)


def sample_vertebrae(
    rng: np.random.Generator,
    levels: Sequence[str],
    size: float,
    bone_density: float,
    settings: PhantomSettings,
) -> list[Vertebra]:
    """Sample vertebrae with individual dimensions, all at the world's origin."""
    count = len(levels)
    width, depth, height, processes = (_correlated(rng, count, 0.025) for _ in range(4))
    discs = rng.uniform(0.8, 1.15) * _correlated(rng, count, 0.12)
    discs *= _narrowing(rng, count, settings)
    curvature = {
        "cervical": rng.normal(1.0, 0.5 * settings.curvature_spread),
        "thoracic": rng.normal(1.0, 0.25 * settings.curvature_spread),
        "lumbar": rng.normal(1.0, 0.3 * settings.curvature_spread),
    }
    vertebrae = []
    for index, level in enumerate(levels):
        mean = morphometry()[level]
        lordosis = mean.lordosis * curvature[region(IDS[level])] + rng.normal(0, 0.7)
        body_depth = mean.body_depth * size * depth[index]
        posterior_height = mean.body_height * size * height[index]
        anterior_height = posterior_height + body_depth * np.tan(np.deg2rad(0.4 * lordosis))
        concavity = 0.8 + 0.02 * body_depth
        process_scale = size * processes[index] * rng.normal(1, 0.03, size=4)
        canal_scale = np.sqrt(size) * rng.normal(1, 0.03, size=2)
        vertebrae.append(
            Vertebra(
                name=level,
                frame=Frame(np.zeros(3), np.eye(3)),
                body_width=mean.body_width * size * width[index],
                body_depth=body_depth,
                posterior_height=posterior_height,
                anterior_height=anterior_height,
                middle_height=(posterior_height + anterior_height) / 2 - 2 * concavity,
                disc_height=mean.disc_height * size * discs[index],
                canal_width=mean.canal_width * canal_scale[0],
                canal_depth=mean.canal_depth * canal_scale[1],
                transverse_width=mean.transverse_width * process_scale[0],
                spinous_length=mean.spinous_length * process_scale[1],
                spinous_angle=mean.spinous_angle + rng.normal(0, 4),
                pedicle_width=mean.pedicle_width * process_scale[2],
                pedicle_height=mean.pedicle_height * process_scale[3],
                lordosis=lordosis,
                trabecular_hu=mean.trabecular_hu * bone_density * rng.normal(1, 0.07),
            )
        )
    if rng.random() < settings.fracture_share:
        vertebrae = _with_fractures(rng, vertebrae)
    return vertebrae


def _correlated(rng: np.random.Generator, count: int, deviation: float) -> Floats:
    """Sample factors (count,) around 1 that vary smoothly along the spine."""
    margin, smoothing = 6, 2.0
    noise = gaussian_filter1d(rng.normal(size=count + 2 * margin), smoothing)
    standard_deviation_after_smoothing = 0.376
    return 1 + deviation * noise[margin : margin + count] / standard_deviation_after_smoothing


def _narrowing(rng: np.random.Generator, count: int, settings: PhantomSettings) -> Floats:
    """Sample factors (count,) on disc heights; some discs are badly narrowed."""
    narrowed = rng.random(count) < settings.narrow_disc_share
    return np.where(narrowed, rng.uniform(*settings.narrow_disc, count), 1.0)


def _with_fractures(rng: np.random.Generator, vertebrae: list[Vertebra]) -> list[Vertebra]:
    """Compress one to three vertebrae, those in `_FRACTURE_PRONE` twice as often as others."""
    weights = np.array(
        [
            0.0 if vertebra.region == "cervical" else 2.0 if vertebra.name in _FRACTURE_PRONE else 1
            for vertebra in vertebrae
        ]
    )
    count = rng.integers(1, 4)
    chosen = rng.choice(len(vertebrae), count, replace=False, p=weights / weights.sum())
    fractured = list(vertebrae)
    for index in chosen:
        kind = str(rng.choice(["wedge", "biconcave", "crush"], p=[0.55, 0.3, 0.15]))
        fractured[index] = fracture(vertebrae[index], kind, rng.uniform(0.2, 0.5))
    return fractured


def with_slip(
    rng: np.random.Generator, vertebrae: Sequence[Vertebra], settings: PhantomSettings
) -> list[Vertebra]:
    """Let one of the lowest three vertebrae slip on a worn disc, in some subjects.

    Most slip forwards by 10 to 35 % of the body's depth, some backwards by 5 to 15 %. Meyerding's
    grade 1 reaches to 25 %, grade 2 to 50 % (Koslosky and Gendelberg, Clin Orthop Relat Res
    2020;478:1125-1130).
    """
    slipped = list(vertebrae)
    if rng.random() < settings.slip_share:
        index = len(vertebrae) - 1 - int(rng.choice(3, p=[0.45, 0.4, 0.15]))
        forwards = rng.random() < 0.8
        share = rng.uniform(0.1, 0.35) if forwards else -rng.uniform(0.05, 0.15)
        vertebra = vertebrae[index]
        slipped[index] = replace(
            vertebra,
            slip=share * vertebra.body_depth,
            disc_height=vertebra.disc_height * rng.uniform(0.2, 0.8),
        )
    return slipped


def fracture(vertebra: Vertebra, kind: str, loss: float) -> Vertebra:
    """Compress a body by a share of its height, after one of Genant's shapes.

    A wedge loses anterior height and half as much in the middle, a biconcave body middle height, a
    crushed one all three. The wedge's angle adds to the spine's kyphosis.

    Args:
        vertebra: the whole vertebra.
        kind: "wedge", "biconcave" or "crush".
        loss: share of the height lost, 0 to 1.
    """
    kept = 1 - loss
    anterior, middle, posterior = {
        "wedge": (kept, 1 - loss / 2, 1.0),
        "biconcave": (1 - loss / 4, kept, 1 - loss / 5),
        "crush": (kept, kept, 1 - 0.8 * loss),
    }[kind]
    heights = (vertebra.posterior_height * posterior, vertebra.anterior_height * anterior)
    rim_angle = np.rad2deg(np.arctan((heights[1] - heights[0]) / vertebra.body_depth))
    return replace(
        vertebra,
        posterior_height=heights[0],
        anterior_height=heights[1],
        middle_height=vertebra.middle_height * middle,
        lordosis=vertebra.lordosis + rim_angle - 0.4 * vertebra.lordosis,
        fracture=kind,
    )
