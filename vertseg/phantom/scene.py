"""One patient on the scanner's table: everything sampled before the first voxel is drawn."""

from dataclasses import dataclass

from vertseg.phantom.landmarks import Landmarks, sample_landmarks
from vertseg.phantom.raster import Grid
from vertseg.phantom.settings import PhantomSettings
from vertseg.phantom.spine import sample_subject
from vertseg.phantom.streams import RandomStreams
from vertseg.phantom.subject import Subject
from vertseg.phantom.view import FieldOfView, posed, sample_field_of_view, sample_grid


@dataclass(frozen=True)
class Scene:
    """A patient and the acquisition of the scan.

    Attributes:
        settings: distributions from which all else is drawn.
        subject: patient as posed on the table.
        view: scanned region.
        grid: voxel grid of the scan.
        landmarks: heights of soft tissue, shoulders and skull in this patient.
        contrast: presence of an intravenous contrast agent.
    """

    settings: PhantomSettings
    subject: Subject
    view: FieldOfView
    grid: Grid
    landmarks: Landmarks
    contrast: bool


def sample_scene(streams: RandomStreams, settings: PhantomSettings) -> Scene:
    """Sample a patient, a pose and an acquisition."""
    upright = sample_subject(streams.anatomy, settings)
    view = sample_field_of_view(streams.view, upright, settings)
    subject = posed(streams.view, upright, view, settings)
    return Scene(
        settings=settings,
        subject=subject,
        view=view,
        grid=sample_grid(streams.view, subject, view, settings),
        landmarks=sample_landmarks(streams.landmarks, subject, settings),
        contrast=bool(streams.view.random() < settings.contrast_share),
    )
