"""Colours of vertebrae: how different they look, by CIEDE2000, to people of any colour vision."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from vertseg.anatomy.labels import CRANIOCAUDAL, IDS, RANK
from vertseg.anatomy.palette import REACH, label_colour

TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""Linear sRGB to CIE XYZ (IEC 61966-2-1)."""

# Machado, Oliveira and Fernandes, IEEE TVCG 2009;15:1291-1298, severity 1, on linear sRGB.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def lab(colour: str, sight: str) -> np.ndarray:
    """CIELAB of a colour as it is seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(SIGHTS[sight] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def ciede2000(one: np.ndarray, other: np.ndarray) -> float:
    """Difference of two colours in CIELAB (Sharma, Wu and Dalal, Color Res Appl 2005;30:21-30)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean_chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = (1 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25**7))) / 2
    c1, c2 = np.hypot((1 + g) * a1, b1), np.hypot((1 + g) * a2, b2)
    h1, h2 = (
        np.degrees(np.arctan2(b, (1 + g) * a)) % 360 if a or b else 0
        for a, b in ((a1, b1), (a2, b2))
    )
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0
    d_hue = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2))
    light, chroma, hue = (l1 + l2) / 2, (c1 + c2) / 2, (h1 + turn / 2) % 360
    t = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    s_light = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    parts = np.array([l2 - l1, c2 - c1, d_hue]) / [s_light, 1 + 0.045 * chroma,
                                                  1 + 0.015 * chroma * t]  # fmt: skip
    rotation = (
        -2
        * np.sqrt(chroma**7 / (chroma**7 + 25**7))
        * np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    )
    return float(np.sqrt(parts @ parts + rotation * parts[1] * parts[2]))


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (56, -27, -3), 31.9030),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_differences_are_those_of_the_published_pairs(one, other, difference) -> None:
    assert ciede2000(np.array(one), np.array(other)) == pytest.approx(difference, abs=1e-4)


def differences(sight: str) -> dict[tuple[int, int], float]:
    seen = {label: lab(label_colour(label), sight) for label in CRANIOCAUDAL}
    return {pair: ciede2000(*(seen[label] for label in pair)) for pair in combinations(seen, 2)}


@pytest.mark.parametrize(
    ("sight", "within_reach", "neighbours"),
    [("normal", 17, 25), ("protanopia", 8, 13), ("deuteranopia", 8, 11), ("tritanopia", 9, 14)],
)
def test_no_two_colours_within_reach_look_alike(sight, within_reach, neighbours) -> None:
    different = differences(sight)
    near = {pair for pair in different if abs(RANK[pair[0]] - RANK[pair[1]]) <= REACH}
    assert {(IDS["T7"], IDS["L1"]), (IDS["T5"], IDS["T12"])} <= near
    assert min(different[pair] for pair in near) > within_reach
    assert min(different[pair] for pair in pairwise(CRANIOCAUDAL)) > neighbours


def test_no_two_vertebrae_share_a_colour() -> None:
    assert min(differences("normal").values()) > 8


def test_all_colours_show_on_dark_tissue() -> None:
    assert min(lab(label_colour(label), "normal")[0] for label in CRANIOCAUDAL) > 40
