"""Sizes of an average adult's vertebrae, in mm.

Cervical, thoracic and lumbar means after Panjabi et al., Spine 1991;16:861–869, 1991;16:888–901 and
1992;17:299–306, rounded and smoothed along the spine; disc heights after Gilad & Nissan, Spine
1986;11:154–157 and Kunkel et al., J Anat 2011;219:375–387. Real spines vary by about 8 % in size;
the generator adds that.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """One level's mean sizes in mm, angles in degrees.

    ``width`` and ``depth`` are of the endplates, ``height`` is the posterior body height, ``disc``
    the height of the disc below; ``canal`` is width × depth; ``pedicle`` is width × height;
    ``transverse`` is the span of the transverse processes, ``reach`` how far the spinous tip lies
    behind the posterior wall and ``droop`` how far the spinous process points down.
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
C1   18.0  9.0  11.0  1.5  27.0 19.0   7.0  8.0   76.0  26.0   5
C2   17.0 15.5  20.0  4.5  24.0 18.0   7.5  8.5   56.0  34.0  20
C3   16.8 15.2  11.8  5.0  23.0 15.5   5.8  7.4   50.0  31.0  22
C4   17.2 15.4  11.6  5.2  24.0 15.5   5.6  7.4   50.0  31.0  22
C5   17.8 15.6  11.4  5.4  24.5 15.5   5.8  7.2   50.0  32.0  22
C6   19.0 16.2  11.6  5.6  25.0 15.5   6.2  7.4   52.0  38.0  22
C7   21.5 17.2  13.0  5.4  24.5 15.2   6.8  7.8   64.0  48.0  22
T1   24.5 17.6  14.4  4.6  22.0 15.5   8.2  9.6   74.0  51.0  24
T2   25.0 18.6  15.6  4.2  19.5 15.5   7.6 11.2   69.0  51.0  32
T3   25.0 20.4  15.9  4.0  18.4 15.6   6.6 11.8   63.0  51.0  42
T4   24.8 22.2  16.4  4.0  17.4 15.8   6.0 12.0   61.0  51.0  48
T5   25.2 23.8  16.8  4.2  17.2 16.0   6.0 12.0   61.0  52.0  53
T6   26.4 25.2  17.4  4.5  17.3 16.0   6.1 12.2   61.0  53.0  56
T7   27.8 26.4  18.2  4.8  17.4 16.0   6.2 12.4   61.0  53.0  57
T8   29.2 27.4  18.7  5.0  17.7 16.0   6.8 12.8   60.0  52.0  54
T9   30.6 28.6  19.3  5.3  18.0 16.0   7.6 13.8   59.0  50.0  45
T10  32.2 29.6  20.4  5.8  18.4 16.0   8.6 14.9   57.0  48.0  33
T11  35.0 31.0  21.6  6.4  19.6 16.4   9.2 16.6   53.0  47.0  24
T12  38.4 32.2  23.0  7.4  22.0 17.6   9.0 16.4   50.0  48.0  18
T13  40.0 33.0  23.6  8.0  22.8 17.8   9.0 16.0   60.0  51.0  15
L1   41.4 33.8  24.2  8.6  23.6 18.2   8.8 15.8   70.0  56.0  12
L2   42.8 34.4  24.6  9.6  23.8 17.8   9.2 15.2   77.0  58.0  10
L3   44.4 35.0  24.4 10.4  24.3 17.6  10.6 14.8   86.0  58.0   8
L4   46.6 35.4  24.2 11.2  25.4 18.2  13.4 15.0   83.0  55.0   8
L5   49.0 35.0  23.4 10.6  27.0 18.8  17.0 17.0   90.0  48.0  12
L6   50.0 34.6  22.6  9.6  28.0 18.8  18.0 17.0   94.0  44.0  12
"""

SIZES: dict[str, Size] = {
    size.name: size for size in (_row(line) for line in _TABLE.strip().splitlines())
}
