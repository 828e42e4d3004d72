"""Sizes of an average adult's vertebrae, in mm.

Canals, pedicles and proportions follow Panjabi et al. (cervical: Spine 1991;16:861–869; thoracic:
1991;16:888–901; lumbar: 1992;17:299–306), disc heights Gilad & Nissan (Spine 1986;11:154–157) and
Kunkel et al. (J Anat 2011;219:375–387), rounded and smoothed along the spine. Those were measured
on dried bones and cadavers; body heights, widths, depths and the processes' lengths have since been
corrected so that generated spines agree with CTs of living people (docs/phantom.md). Real spines
vary by about 7 % in size; the generator adds that.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """One level's mean sizes in mm, angles in degrees.

    ``width`` and ``depth`` are of the endplates, ``height`` is the posterior body height, ``disc``
    the height of the disc below; ``canal`` is width × depth; ``pedicle`` is width × height;
    ``transverse`` is the distance between the middles of the transverse processes' rounded tips,
    ``reach`` how far that of the spinous process lies behind the posterior wall and ``droop`` how
    far the spinous process points down.
    """

    name: str
    width: float
    depth: float
    height: float
    disc: float
    canal: tuple[float, float]
    pedicle: tuple[float, float]
    transverse: float
    reach: float
    droop: float


def _row(text: str) -> Size:
    name, *numbers = text.split()
    w, d, h, disc, cw, cd, pw, ph, tp, reach, droop = (float(n) for n in numbers)
    return Size(name, w, d, h, disc, (cw, cd), (pw, ph), tp, reach, droop)


#          width depth height disc canal w,d  pedicle w,h  transv reach droop
_TABLE = """
C1   18.0   9.0  11.0  1.5  27.0 19.0   7.0  8.0   76.0  26.0   5
C2   17.0  15.5  22.0  4.5  24.0 18.0   7.5  8.5   56.0  34.0  20
C3   17.5  16.4  13.1  5.5  23.0 15.5   5.8  7.4   50.0  25.0  22
C4   17.9  16.6  12.8  5.7  24.0 15.5   5.6  7.4   50.0  25.0  22
C5   18.5  16.8  12.3  5.9  24.5 15.5   5.8  7.2   50.0  26.0  22
C6   19.8  17.5  12.3  6.2  25.0 15.5   6.2  7.4   52.0  32.0  22
C7   22.4  18.6  14.1  5.9  24.5 15.2   6.8  7.8   64.0  42.0  22
T1   26.2  18.8  16.7  4.6  22.0 15.5   8.2  9.6   64.0  40.0  24
T2   26.8  19.9  18.2  4.2  19.5 15.5   7.6 11.2   59.0  37.0  32
T3   26.8  21.8  18.2  4.0  18.4 15.6   6.6 11.8   53.0  37.0  42
T4   26.5  23.8  18.6  4.0  17.4 15.8   6.0 12.0   51.0  37.0  48
T5   27.0  25.5  19.0  4.2  17.2 16.0   6.0 12.0   51.0  38.0  53
T6   28.2  27.0  19.3  4.5  17.3 16.0   6.1 12.2   51.0  39.0  56
T7   29.7  28.2  19.8  4.8  17.4 16.0   6.2 12.4   53.0  39.0  57
T8   31.2  29.3  20.1  5.0  17.7 16.0   6.8 12.8   52.0  41.0  54
T9   32.7  30.6  20.8  5.3  18.0 16.0   7.6 13.8   51.0  41.0  45
T10  34.5  31.7  22.3  5.8  18.4 16.0   8.6 14.9   49.0  39.0  33
T11  37.5  33.2  24.1  6.4  19.6 16.4   9.2 16.6   45.0  38.0  24
T12  41.1  34.5  26.3  7.4  22.0 17.6   9.0 16.4   42.0  39.0  18
T13  42.8  35.3  26.9  8.0  22.8 17.8   9.0 16.0   52.0  42.0  15
L1   41.4  33.8  27.8  8.6  23.6 18.2   8.8 15.8   65.0  48.0  12
L2   42.8  34.4  28.2  9.6  23.8 17.8   9.2 15.2   72.0  50.0  10
L3   44.4  35.0  28.0 10.4  24.3 17.6  10.6 14.8   81.0  50.0   8
L4   46.6  35.4  27.4 11.2  25.4 18.2  13.4 15.0   78.0  47.0   8
L5   49.0  35.0  26.1 10.6  27.0 18.8  17.0 17.0   85.0  40.0  12
L6   50.0  34.6  25.2  9.6  28.0 18.8  18.0 17.0   89.0  36.0  12
"""

SIZES: dict[str, Size] = {
    size.name: size for size in (_row(line) for line in _TABLE.strip().splitlines())
}
