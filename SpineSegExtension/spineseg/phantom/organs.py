"""Organs, vessels and airways round the spine, painted with the codes of ``Tissue``.

Places follow Gray's Anatomy (kidneys beside T12–L3, aorta in front of the bodies on the left, its
fork at L4); what is bright or dark in a CT near the spine matters here, fine anatomy does not.
"""

from __future__ import annotations

import numpy as np

from .bodyshape import Shape
from .codes import Tissue
from .softgrid import Soft

_SOFT = (Tissue.FAT, Tissue.MUSCLE, Tissue.ORGAN, Tissue.BOWEL, Tissue.GAS)
_CHEST = (*_SOFT, Tissue.LUNG)


def draw_organs(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Paint all organs; each has random numbers of its own."""
    seeds = rng.integers(2**31, size=7)
    _bowel(soft, shape, np.random.default_rng(seeds[0]))
    _abdomen(soft, shape, np.random.default_rng(seeds[1]))
    _psoas(soft, shape, np.random.default_rng(seeds[2]))
    _chest(soft, shape, np.random.default_rng(seeds[3]))
    _vessels(soft, shape, np.random.default_rng(seeds[4]))
    _neck(soft, shape, np.random.default_rng(seeds[5]))
    _pelvis(soft, shape, np.random.default_rng(seeds[6]))


def _bowel(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Loops with gas and contrast between the diaphragm and the pelvic floor."""
    seed, cell = int(rng.integers(2**31)), rng.uniform(11, 20, 3)
    fill, gas = rng.uniform(-0.7, 0.5), rng.uniform(1.0, 2.2)
    bright = rng.random() < 0.15
    at = soft.z.ravel()
    rows = np.flatnonzero((at > shape.height("S1", -80)) & (at < shape.height("T12")))
    if len(rows) == 0:
        return
    ks = slice(int(rows[0]), int(rows[-1]) + 1)
    part = soft.part(ks)
    _, ys = shape.spine(at[ks])
    xs, _ = shape.line(at[ks])
    half = np.float32(24 * shape.scale)
    front = part.y > ys.astype(np.float32)[:, None, None] + half
    aside = np.abs(part.x - xs.astype(np.float32)[:, None, None]) > 62 * shape.scale
    room = soft.belly[ks] & (front | aside)
    noise = part.noise(seed, cell)
    part.code[room & (noise > fill)] = Tissue.BOWEL
    if bright:
        part.code[room & (noise > fill + 0.15) & (noise < fill + 0.7)] = Tissue.VESSEL
    part.code[room & (noise > gas)] = Tissue.GAS


def _abdomen(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Liver, spleen, stomach and kidneys."""
    k = shape.scale
    move, size = rng.normal(0, 7, (6, 3)), rng.normal(1, 0.09, 6)
    gas = rng.random() < 0.7
    missing = rng.random(2) < 0.03
    cyst = rng.random(2) < 0.2
    z = shape.height("T11")
    x, y = (float(v) for v in shape.line(np.array(z)))
    body = (Tissue.FAT, Tissue.BOWEL, Tissue.GAS, Tissue.MUSCLE)
    inner = (Tissue.FAT, Tissue.BOWEL, Tissue.GAS)
    place = np.array([x, y, z])
    soft.blob(place + np.array([68, 42, -22]) * k + move[0], np.array([68, 74, 74]) * k * size[0],
              Tissue.ORGAN, inner, 0.15)  # fmt: skip
    lobe = place + np.array([5, 78, -6]) * k + move[1]
    soft.blob(lobe, np.array([58, 38, 36]) * k, Tissue.ORGAN, inner)
    soft.blob(place + np.array([-88, 2, -10]) * k + move[2], np.array([30, 40, 52]) * k * size[2],
              Tissue.ORGAN, inner, -0.3)  # fmt: skip
    stomach = place + np.array([-50, 66, -16]) * k + move[3]
    soft.blob(stomach, np.array([44, 38, 50]) * k * size[3], Tissue.ORGAN, inner)
    soft.blob(stomach, np.array([39, 33, 45]) * k * size[3], Tissue.BOWEL, (Tissue.ORGAN,))
    if gas:
        bubble = stomach + np.array([0, 19, 8])
        soft.blob(bubble, np.array([28, 14, 30]) * k, Tissue.GAS, (Tissue.BOWEL,))
    for n, side in enumerate((-1.0, 1.0)):
        high = shape.height("L2") + (10 if side < 0 else -4) * k + move[4 + n, 2] * 1.3
        kx, ky = (float(v) for v in shape.spine(np.array(high)))
        lx, ly = (float(v) for v in shape.line(np.array(high)))
        middle = np.array([0.5 * (kx + lx) + side * 63 * k, 0.6 * ky + 0.4 * ly - 4 * k, high])
        middle[:2] += move[4 + n, :2] * 0.6
        radii = np.array([28, 29, 55]) * k * size[4 + n]
        tilt = -side * 0.22
        # Fat round the kidney, then the kidney, its sinus of fat, and now and then a cyst.
        soft.blob(middle, radii + 9, Tissue.FAT, body + (Tissue.ORGAN,), tilt)
        if missing[n]:
            continue
        soft.blob(middle, radii, Tissue.KIDNEY, None, tilt)
        sinus = middle - np.array([side * 12 * k, -4, 0])
        soft.blob(sinus, radii * [0.5, 0.4, 0.5], Tissue.FAT, (Tissue.KIDNEY,), tilt)
        soft.blob(sinus, radii * [0.25, 0.2, 0.4], Tissue.VESSEL, (Tissue.FAT,), tilt)
        if cyst[n]:
            soft.blob(middle + np.array([side * 22, 6, 22]), (17, 17, 17), Tissue.BOWEL, None)


def _psoas(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Psoas from T12 to the hip beside the bodies, with a seam of fat round it; the crura."""
    k, mass = shape.scale, rng.uniform(0.7, 1.25)
    for s in (-1.0, 1.0):
        rows = []
        for name, out, fore, r in (("L1", 5, -7, 8), ("L2", 8, -6, 13), ("L3", 13, -4, 18),
                                   ("L4", 17, 1, 21), ("L5", 23, 8, 22)):  # fmt: skip
            body = shape.body(name)
            x, y, z = body.centre
            aside = s * (body.size.width / 2 + out * mass)
            rows.append((z, x + aside, y + fore * k, r * mass, r * 1.05 * mass))
        x, y, z = shape.chain.sacrum_centre
        rows += [(z - 20 * k, x + s * 62 * k, y + 32 * k, 20 * mass, 22 * mass),
                 (z - 100 * k, x + s * 92 * k, y + 62 * k, 20, 20)]  # fmt: skip
        seam = [(h, a, b, c + 3.5, d + 3.5) for h, a, b, c, d in rows]
        soft.column(seam, Tissue.FAT, (Tissue.MUSCLE, Tissue.BOWEL, Tissue.GAS))
        soft.column(rows, Tissue.MUSCLE, (Tissue.FAT, Tissue.MUSCLE, Tissue.BOWEL, Tissue.GAS))
        crus = []
        for name in ("L2", "L1", "T12", "T11"):
            body = shape.body(name)
            x, y, z = body.centre
            crus.append((z, x + s * 11, y + body.size.depth / 2 + 4, 8, 4.5))
        soft.column(crus, Tissue.MUSCLE, _CHEST)


def _chest(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Heart, trachea, main bronchi and oesophagus."""
    k, move = shape.scale, rng.normal(0, 5, (2, 3))
    wide = float(rng.uniform(7, 10))
    gas = rng.random(2)
    z = shape.height("T8")
    x, _ = (float(v) for v in shape.line(np.array(z)))
    y = float(shape.spine(np.array(z))[1])
    heart = np.array([x - 20 * k, y + 74 * k, z - 8 * k]) + move[0]
    soft.blob(heart, np.array([56, 46, 50]) * k, Tissue.ORGAN, _CHEST, 0.5)
    soft.blob(heart + [-14, 0, -4], np.array([30, 27, 34]) * k, Tissue.VESSEL, (Tissue.ORGAN,), 0.5)
    soft.blob(heart + [30, 0, 4], np.array([20, 24, 28]) * k, Tissue.VESSEL, (Tissue.ORGAN,))
    tubes = (("T10", 0, Tissue.ORGAN, 7.5), ("T9", 8, Tissue.GAS, 3.0 + 2 * gas[0]))
    for name, dz, code, r in tubes:
        rows = []
        for level in ("C6", "T1", "T3", "T5", "T7", name):
            body = shape.body(level)
            bx, by, bz = body.centre
            rows.append((bz + dz, bx * 0.9 - 4, by + body.size.depth / 2 + 11, r, r * 0.7))
        if code != Tissue.GAS or gas[1] < 0.5:
            soft.column(rows, code, _CHEST + (Tissue.ORGAN,))
    fork = shape.height("T5")
    rows = []
    for level in ("C4", "C6", "T1", "T3", "T5"):
        body = shape.body(level)
        bx, by, bz = body.centre
        gap = {"C4": 16, "C6": 20, "T1": 24, "T3": 28, "T5": 30}[level]
        rows.append((bz, bx * 0.9, by + body.size.depth / 2 + gap, wide, wide))
    walls = [(a, b, c, d + 2.5, e + 2.5) for a, b, c, d, e in rows]
    soft.column(walls, Tissue.ORGAN, _CHEST)
    soft.column(rows, Tissue.GAS)
    bx, by = rows[-1][1], rows[-1][2]
    for s in (-1.0, 1.0):
        end = (fork - 42 * k, bx + s * 40 * k, by - 4, 6, 7)
        soft.column([(fork, bx + s * 3, by, 7, 7), end], Tissue.GAS, _CHEST + (Tissue.ORGAN,))


def _vessels(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Aorta with plaques, vena cava, iliac and great thoracic vessels, azygos vein."""
    k = shape.scale
    r = float(rng.uniform(8.5, 13.0))
    cava, gap = float(rng.uniform(8, 13)), float(rng.uniform(2.0, 5.5))
    plaque = float(rng.choice([1.5, rng.uniform(0.25, 0.8)], p=[0.35, 0.65]))
    seeds = rng.integers(2**31, size=3)
    wide = float(rng.choice([1.0, rng.uniform(1.2, 2.0)], p=[0.9, 0.1]))

    def front(name: str) -> tuple[float, float, float, float]:
        body = shape.body(name)
        x, y, z = (float(v) for v in body.centre)
        return x, y + body.size.depth / 2, z, body.size.width / 2

    aorta = []
    for name, out, share in (("T4", -0.95, -0.1), ("T6", -0.95, 0.0), ("T8", -0.8, 0.5),
                             ("T10", -0.55, 1.0), ("T12", -0.25, 1.0), ("L2", -0.2, 1.0),
                             ("L4", -0.05, 1.0)):  # fmt: skip
        x, y, z, half = front(name)
        bulge = wide if name == "L2" else 1.0
        rr = r * (1.15 if name[0] == "T" else 0.9) * bulge
        # At the side of a body in the chest, in front of it below.
        side = out * half - (1 - share) * (rr * 0.75 + gap * 0.5)
        aorta.append((z, x + side, y + share * (gap + rr) + (1 - share) * -2, rr, rr))
    veins = []
    for name in ("T10", "T12", "L2", "L4"):
        x, y, z, half = front(name)
        fore = gap + cava * 0.85 + (22 * k if name == "T10" else 8 if name == "T12" else 0)
        veins.append((z, x + half * 0.75, y + fore, cava * 1.1, cava * 0.85))
    x, y, z, _ = front("L4")
    sx, sy, sz = (float(v) for v in shape.chain.sacrum_centre)
    soft.column(veins, Tissue.VESSEL, _CHEST)
    soft.column(aorta, Tissue.VESSEL, _CHEST)
    soft.column(aorta, Tissue.CALCIFICATION, (Tissue.VESSEL,), (1.9, int(seeds[0]), plaque))
    for s in (-1.0, 1.0):
        line = [
            (z, x - 1 + s * 4, y + gap + r * 0.8, 6.5, 6.5),
            (sz, sx + s * 32 * k, sy + 30 * k, 6.0, 6.0),
            (sz - 60 * k, sx + s * 62 * k, sy + 62 * k, 5.5, 5.5),
        ]
        soft.column(line, Tissue.VESSEL, _SOFT)
        soft.column(line, Tissue.CALCIFICATION, (Tissue.VESSEL,), (1.6, int(seeds[1]), plaque))
        vein = [(h, a + s * 5, b - 9, c + 1, d) for h, a, b, c, d in line]
        soft.column(vein, Tissue.VESSEL, _SOFT)
    places = [front(n) for n in ("T12", "T8", "T5")]
    azygos = [(p[2], p[0] + 7, p[1] + 4, 3.2, 3.0) for p in places]
    soft.column(azygos, Tissue.VESSEL, _CHEST)
    x, y, z, _ = front("T6")
    rise = [(z, x + 12, y + 72 * k, 15, 15), (front("T4")[2], x + 8, y + 52 * k, 14, 14)]
    soft.column(rise, Tissue.VESSEL, _CHEST)
    soft.column([(z, x + 34 * k, y + 60 * k, 9, 9), (front("T2")[2], x + 26 * k, y + 48 * k, 9, 8)],
                Tissue.VESSEL, _CHEST)  # fmt: skip
    soft.blob((x - 6, y + 30 * k, front("T4")[2] + 4), (24 * k, 36 * k, 12), Tissue.VESSEL,
              (*_SOFT, Tissue.LUNG))  # fmt: skip
    soft.column([(z, x - 12, y + 52 * k, 14, 13), (z + 18, x - 8, y + 50 * k, 14, 13)],
                Tissue.VESSEL, _CHEST)  # fmt: skip


def _neck(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Carotids, jugular veins, vertebral arteries, throat, thyroid, tongue and brain."""
    k = shape.scale
    air = rng.uniform(0.5, 1.2)
    for s in (-1.0, 1.0):
        artery, vein, small = [], [], []
        for name in ("T2", "C7", "C5", "C3", "C1"):
            body = shape.body(name)
            x, y, z = (float(v) for v in body.centre)
            fore = y + body.size.depth / 2
            artery.append((z, x + s * 22 * k, fore + (10 if name[0] == "C" else 26), 4, 4))
            vein.append((z, x + s * 31 * k, fore + (8 if name[0] == "C" else 24), 7, 6))
            if name in ("C5", "C3", "C7"):
                small.append((z, x + s * (body.size.width / 2 + 4.2), y - 3.5, 2.0, 2.0))
        soft.column(artery, Tissue.VESSEL, _CHEST)
        soft.column(vein, Tissue.VESSEL, _CHEST)
        soft.column(small, Tissue.VESSEL, _SOFT)
        x, y, z = (float(v) for v in shape.body("C7").centre)
        soft.blob((x + s * 18 * k, y + 30, z), (9, 11, 22), Tissue.KIDNEY, _SOFT)
    throat = []
    for name, wide in (("C4", 9.0), ("C3", 13.0), ("C2", 14.0), ("C1", 13.0)):
        body = shape.body(name)
        x, y, z = (float(v) for v in body.centre)
        fore = y + body.size.depth / 2 + (10 if name != "C1" else 22)
        throat.append((z, x, fore + 5, wide * air, 6 * air))
    soft.column(throat, Tissue.GAS, _SOFT)
    x, y, z = (float(v) for v in shape.body("C1").centre)
    soft.blob((x, y + 22, z + 92), (70, 88, 70), Tissue.ORGAN, _SOFT)
    soft.blob((x, y + 70, z + 22), (20, 18, 16), Tissue.GAS, _SOFT)


def _pelvis(soft: Soft, shape: Shape, rng: np.random.Generator) -> None:
    """Bladder, rectum with gas before the sacrum, a uterus or prostate between them."""
    k, sacrum = shape.scale, shape.chain.sacrum_centre
    full, gas, wide = rng.uniform(0.6, 1.3), rng.random(), rng.uniform(9, 22)
    inner = (Tissue.FAT, Tissue.BOWEL, Tissue.GAS)
    place = sacrum + np.array([0, 62, -78]) * k
    soft.blob(place, np.array([38, 30, 30]) * k * full, Tissue.ORGAN, inner)
    soft.blob(place, np.array([34, 26, 26]) * k * full, Tissue.BOWEL, (Tissue.ORGAN,))
    soft.blob(sacrum + np.array([0, 26, -82]) * k, np.array([26, 17, 24]) * k, Tissue.ORGAN, inner)
    way = ((-10, -14, 20), (-45, 0, -6), (-80, 4, -12), (-115, 0, 4))
    line = [
        (sacrum[2] + dz * k, sacrum[0] + dx, sacrum[1] + dy * k, wide, wide * 0.8)
        for dz, dx, dy in way
    ]
    over = (*inner, Tissue.MUSCLE, Tissue.ORGAN)
    soft.column(line, Tissue.ORGAN, over)
    bore = [(h, a, b, c * 0.8, d * 0.75) for h, a, b, c, d in line]
    soft.column(bore, Tissue.GAS if gas < 0.4 else Tissue.BOWEL, (Tissue.ORGAN,))
