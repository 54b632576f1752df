"""Scenes of the synthetic world in which things move on: the audio follows them all the time."""

import math

import numpy as np

from avjax.data.synthesis import canvas, tones
from avjax.data.synthesis.scene import Look, Scene, around, beats, pitch_of, seen, turning


def lamp(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """Two lamps take turns; the siren's pitch is that of the one which is lit."""
    times = beats(rng, seconds, 0.26 - 0.08 * look.speed, 0.43 - 0.13 * look.speed)
    other = round((look.hue + rng.uniform(0.3, 0.7)) % 1.0, 4)
    inks, pitches = (look.ink, canvas.color(other)), (look.pitch, pitch_of(other, look.size))
    radius, apart = 0.09 + 0.06 * look.size, rng.uniform(0.2, 0.28)
    top = rng.uniform(0.35, 0.6)

    def draw(page, t):
        k, _, _ = around(times, t)
        canvas.box(page, 0.1, top + radius, 0.9, top + radius + 0.12, look.trim)
        for i, x in enumerate((0.5 - apart, 0.5 + apart)):
            lit = k % 2 == i
            if lit:
                canvas.glow(page, x, top, 2.1 * radius, inks[i], 0.45)
                canvas.burst(page, x, top, 1.3 * radius, 2.2 * radius, inks[i], 10)
            canvas.disc(page, x, top, radius, inks[i] if lit else canvas.shade(inks[i], 0.3))
            if lit:
                canvas.disc(page, x, top, 0.5 * radius, (255, 255, 255))

    def sound(rng, samples, rate):
        t = np.arange(samples) / rate
        which = (np.searchsorted(times, t, side="right") - 1) % 2
        pitch = tones.smooth(np.array(pitches)[which], rate, 0.008)
        return tones.sweep(pitch, rate, ((1, 1.0), (3, 0.35), (5, 0.2), (7, 0.1)))

    moments = [(t, "left" if k % 2 == 0 else "right") for k, t in enumerate(times)]
    facts = {"hues": [look.hue, other], "pitches": list(pitches)}
    return Scene(facts, seen(moments, seconds), draw, sound)


def wheel(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """A wheel turns, hums with its speed, and clicks as each spoke passes the pointer."""
    base = 2.2 + 2.4 * look.speed
    count, times = turning(rng, base, 0.35)
    passes = times(seconds)
    spokes, radius = int(rng.integers(3, 6)), 0.2 + 0.13 * look.size
    y = rng.uniform(0.5, 0.58)

    def draw(page, t):
        turns = float(count(t))
        canvas.polygon(page, [(0.5, y), (0.36, 1.2), (0.64, 1.2)], look.trim)
        canvas.disc(page, 0.5, y, radius, look.dark)
        canvas.circle(page, 0.5, y, radius, look.ink, 0.04)
        for k in range(spokes):  # The pointer is at the top; one spoke is white.
            angle = 2 * math.pi * (turns - k) / spokes - math.pi / 2
            tip = 0.5 + radius * math.cos(angle), y + radius * math.sin(angle)
            canvas.line(page, [(0.5, y), tip], (255, 255, 255) if k == 0 else look.ink, 0.045)
        canvas.disc(page, 0.5, y, 0.04, look.trim)
        passed = turns - math.floor(turns) < 0.25
        bend, ink = (0.05, (255, 255, 255)) if passed else (0.0, look.trim)
        top = y - radius
        canvas.line(page, [(0.5, top - 0.16), (0.5 + bend, top + 0.01)], ink, 0.045)

    def sound(rng, samples, rate):
        t = np.arange(samples) / rate
        speed = np.gradient(count(t), 1 / rate) / base
        hum = tones.sweep(look.pitch * 0.5 * speed, rate, ((1, 1.0), (2, 0.6), (3, 0.3), (4, 0.2)))
        track = 0.25 * hum
        click = tones.ring(look.pitch * 3, 0.06, rate, ((1, 1.0), (2.1, 0.5)), 60)
        for _, at in passes:
            tones.mix_in(track, click, at, rate)
        return track

    moments = [(t, "click") for _, t in passes]
    return Scene({"spokes": spokes}, seen(moments, seconds), draw, sound)


def rain(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """Rain of changing strength; every drop is heard where it lands."""
    knots = rng.random(int(seconds) + 4)
    tries = np.sort(rng.uniform(-1, seconds + 1, int((seconds + 2) * (35 + 35 * look.speed))))
    level = np.interp(tries + 1, np.arange(len(knots)), 0.08 + 0.92 * knots**2)
    times = [round(float(t), 4) for t in tries[rng.random(len(tries)) < level]]
    places = rng.uniform(-0.1, 1.1, len(times))
    ground, fall = rng.uniform(0.8, 0.9), rng.uniform(1.3, 2.0)
    slant, streak = rng.uniform(-0.25, 0.25), 0.05 + 0.06 * look.size
    thickness = 0.015 + 0.025 * look.size

    def draw(page, t):
        canvas.box(page, -0.2, ground, 1.2, 1.2, look.trim)
        for at, x in zip(times, places):
            ahead = at - t
            if 0 < ahead * fall < ground + 0.2:
                y = ground - fall * ahead
                back = x - slant * fall * ahead
                top = back - slant * streak, y - streak
                canvas.line(page, [top, (back, y)], look.ink, thickness)
            elif -0.16 < ahead <= 0:
                grown = (0.02 + 0.45 * -ahead) * (0.6 + 0.8 * look.size)
                canvas.circle(page, x, ground + 0.02, grown, look.ink, 0.02, 0.4)

    def sound(rng, samples, rate):
        track = np.zeros(samples)
        splashes = []
        for _ in range(6):
            splash = 0.5 * tones.hit(rng, 0.06, rate, 1500, 9000, 70)
            drop = tones.ring(look.pitch * rng.uniform(3, 3.6), 0.06, rate, ((1, 1.0),), 60)
            splashes.append(splash + drop)
        for at in times:
            tones.mix_in(track, splashes[rng.integers(6)], at, rate, rng.uniform(0.5, 1.0))
        return track

    return Scene({}, seen([(t, "drop") for t in times], seconds), draw, sound)


def shutter(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """A shutter slides to and fro; the wider it is open, the higher its whine."""
    times = beats(rng, seconds, 0.4, 1.0 - 0.4 * look.speed)
    stops = [rng.random()]
    for _ in times:  # Each stop is well away from the one before.
        stops.append((stops[-1] + rng.uniform(0.35, 0.65)) % 1.0)
    half, upright = 0.24 + 0.1 * look.size, rng.random() < 0.5

    def opening(t):
        k, since, until = around(times, t)
        part = 0.5 - 0.5 * math.cos(math.pi * since / (since + until))
        return stops[k] + (stops[k + 1] - stops[k]) * part

    def draw(page, t):
        wide = 2 * half * opening(t)
        low, high = 0.5 - half, 0.5 + half
        canvas.box(page, low - 0.06, low - 0.06, high + 0.06, high + 0.06, look.trim)
        canvas.box(page, low, low, high, high, look.ink)
        canvas.disc(page, 0.5, 0.5, 0.6 * half, canvas.shade(look.ink, 1.5))
        slats = 6
        for k in range(slats):  # The slats are pushed together as it opens.
            a = low + wide + (high - low - wide) * k / slats
            b = low + wide + (high - low - wide) * (k + 0.82) / slats
            corners = (low, a, high, b) if upright else (a, low, b, high)
            canvas.box(page, *corners, look.dark)

    def sound(rng, samples, rate):
        coarse = np.arange(0, samples / rate + 0.02, 0.01)
        place = np.array([opening(t) for t in coarse])
        t = np.arange(samples) / rate
        speed = np.interp(t, coarse, np.abs(np.gradient(place, 0.01)))
        pitch = look.pitch * 2 ** (1.2 * np.interp(t, coarse, place) - 0.6)
        whine = tones.sweep(pitch, rate, ((1, 1.0), (2, 0.5), (3, 0.35), (4, 0.2), (5, 0.15)))
        scrape = tones.noise(rng, samples, rate, 2000, 7000)
        return whine * (0.15 + 0.5 * speed) + 0.15 * scrape * speed

    return Scene({}, seen([(t, "turn") for t in times], seconds), draw, sound)


def balloon(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """A balloon squeaks higher and higher as it is blown up, and pops."""
    times = beats(rng, seconds, 0.6, 1.5 - 0.6 * look.speed)
    places = rng.uniform(0.35, 0.65, len(times))
    largest, puffs, y = 0.17 + 0.13 * look.size, rng.uniform(5, 7), rng.uniform(0.4, 0.5)

    def draw(page, t):
        k, since, until = around(times, t)
        x, part = places[k], since / (since + until)
        radius = 0.04 + largest * part + 0.015 * math.sin(2 * math.pi * puffs * since)
        canvas.line(
            page, [(x, y + radius), (x - 0.02, y + radius + 0.1), (x, 1.2)], look.trim, 0.03
        )
        tail = [(x, y + radius * 0.9), (x - 0.04, y + radius + 0.06), (x + 0.04, y + radius + 0.06)]
        canvas.polygon(page, tail, look.dark)
        canvas.disc(page, x, y, radius, look.ink)
        canvas.disc(page, x - 0.35 * radius, y - 0.4 * radius, 0.2 * radius, (255, 255, 255))
        if since < 0.2 and k > 0:  # Rags of the one before fly off.
            far = largest * (1 + 2.5 * since)
            canvas.burst(page, places[k - 1], y, 0.7 * far, far, look.ink, 9, 0.05)
            if since < 0.1:
                canvas.burst(page, places[k - 1], y, 0.2, 0.45, (255, 255, 255), 12, 0.03)

    def sound(rng, samples, rate):
        t = np.arange(samples) / rate
        k = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
        starts = np.array(times)
        since, part = t - starts[k], (t - starts[k]) / (starts[k + 1] - starts[k])
        puff = 0.5 + 0.5 * np.cos(2 * np.pi * puffs * since)
        squeak = tones.sweep(look.pitch * (1 + 1.5 * part), rate, ((1, 1.0), (2, 0.7), (3, 0.3)))
        hiss = tones.noise(rng, samples, rate, 3000, 9000)
        track = puff * (0.2 + 0.3 * part) * squeak + 0.1 * puff * hiss
        for at in times:
            tones.mix_in(track, tones.hit(rng, 0.15, rate, 100, 8000, 30), at, rate, 0.8)
            tones.mix_in(track, tones.ring(look.pitch * 0.5, 0.2, rate, ((1, 1.0),), 20), at, rate)
        return track

    return Scene({}, seen([(t, "pop") for t in times], seconds), draw, sound)


def car(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """Cars of two colors drive past, one each way; the engine falls in pitch as it passes."""
    longest = 1.6 - 0.7 * look.speed
    times = beats(rng, seconds, 0.6 * longest, longest)
    other = round((look.hue + rng.uniform(0.3, 0.7)) % 1.0, 4)
    hues, pitches = (look.hue, other), (look.pitch, pitch_of(other, look.size))
    inks, pace = (look.ink, canvas.color(other)), 1.4 / longest
    lanes, s = (0.62, 0.84), 0.12 + 0.06 * look.size

    def draw(page, t):
        canvas.box(page, -0.2, 0.5, 1.2, 0.92, look.trim)
        k, _, _ = around(times, t)
        for j in sorted(range(max(k - 1, 0), min(k + 3, len(times))), key=lambda j: j % 2):
            way, y = (1, lanes[0]) if j % 2 == 0 else (-1, lanes[1])
            x = 0.5 + way * pace * (t - times[j])
            cab = [(-0.9, -0.6), (-0.5, -1.3), (0.4, -1.3), (0.8, -0.6)]
            canvas.polygon(page, [(x + way * a * s, y + b * s) for a, b in cab], (200, 225, 235))
            canvas.box(page, x - 1.6 * s, y - 0.7 * s, x + 1.6 * s, y, inks[j % 2])
            lights = x + way * 1.5 * s
            canvas.disc(page, lights, y - 0.4 * s, 0.16 * s, (255, 255, 190))
            for axle in (-0.9, 0.9):
                canvas.disc(page, x + axle * s, y, 0.4 * s, (25, 25, 25))
                turn = x / (0.4 * s)
                spoke = 0.35 * s * math.cos(turn), 0.35 * s * math.sin(turn)
                a, b = x + axle * s, y
                canvas.line(
                    page,
                    [(a - spoke[0], b - spoke[1]), (a + spoke[0], b + spoke[1])],
                    (230, 230, 230),
                    0.02,
                )

    def sound(rng, samples, rate):
        t = np.arange(samples) / rate
        track, road = np.zeros(samples), tones.noise(rng, samples, rate, 200, 2500)
        for j, at in enumerate(times):
            far = pace * (t - at)
            near = 1 / (1 + (far / 0.25) ** 2)
            # The pitch falls by a third from coming to going: a Doppler shift, exaggerated.
            pitch = pitches[j % 2] * 0.5 * (1 - 0.18 * far / np.sqrt(far**2 + 0.15**2))
            engine = tones.sweep(pitch, rate, tuple((m, m**-0.8) for m in range(1, 7)))
            track += near * (engine + 0.3 * road)
        return track

    facts = {"hues": list(hues), "pitches": list(pitches)}
    moments = [(t, "right" if j % 2 == 0 else "left") for j, t in enumerate(times)]
    return Scene(facts, seen(moments, seconds), draw, sound)
