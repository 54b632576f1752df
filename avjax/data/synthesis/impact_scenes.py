"""Scenes of the synthetic world in which things strike: a sound each time."""

import math

import numpy as np

from avjax.data.synthesis import canvas, tones
from avjax.data.synthesis.scene import Look, Scene, around, beats, pitch_of, seen, turning


def ball(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """A ball bounces on a floor; each impact knocks."""
    longest = 0.85 - 0.35 * look.speed
    times = beats(rng, seconds, 0.55 * longest, longest)
    gravity = 8 * 0.62 / longest**2  # The longest flight goes 0.62 units up.
    radius, floor = 0.07 + 0.07 * look.size, rng.uniform(0.82, 0.9)
    center, sway, phase = rng.uniform(0.4, 0.6), rng.uniform(0.05, 0.22), rng.uniform(0, 6.28)

    def draw(page, t):
        _, since, until = around(times, t)
        x = center + sway * math.sin(phase + 1.3 * t)
        y = floor - radius - 0.5 * gravity * since * until
        canvas.box(page, -0.2, floor, 1.2, floor + 0.04, look.trim)
        near = min(since, until)
        squash = 1 - 0.35 * max(0.0, 1 - near / 0.05)
        y += radius * (1 - squash)
        canvas.disc(page, x, y, radius + 0.014, look.dark, squash)
        canvas.disc(page, x, y, radius, look.ink, squash)
        canvas.disc(page, x - 0.3 * radius, y - 0.35 * radius, 0.25 * radius, (255, 255, 255))
        if since < 0.11:
            canvas.line(
                page, [(x - 1.7 * radius, floor), (x + 1.7 * radius, floor)], look.ink, 0.05
            )

    def sound(rng, samples, rate):
        track = np.zeros(samples)
        knock = tones.ring(look.pitch * 2, 0.35, rate, ((1, 1.0), (3.9, 0.5), (9.2, 0.2)), 14)
        for t in times:
            tones.mix_in(track, knock, t, rate)
        return track

    return Scene({}, seen([(t, "impact") for t in times], seconds), draw, sound)


def drum(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """A stick hits one of two drums; the larger is the lower."""
    times = beats(rng, seconds, 0.34 - 0.1 * look.speed, 0.8 - 0.3 * look.speed)
    sizes = [look.size, round((look.size + rng.uniform(0.35, 0.65)) % 1.0, 4)]
    pitches = [pitch_of(look.hue, s) for s in sizes]
    which = rng.integers(0, 2, len(times))
    radii, places = [0.12 + 0.09 * s for s in sizes], (0.25, 0.74)
    head = rng.uniform(0.6, 0.7)

    def draw(page, t):
        k, since, until = around(times, t)
        for i, (x, r) in enumerate(zip(places, radii)):
            struck = since < 0.11 and which[k] == i
            canvas.box(page, x - r, head, x + r, head + 0.26, look.ink)
            canvas.box(page, x - r, head + 0.2, x + r, head + 0.26, look.dark)
            canvas.disc(page, x, head, r, look.dark, 0.55)
            canvas.disc(page, x, head, 0.9 * r, (255, 255, 255) if struck else look.trim, 0.55)
            if struck:
                canvas.burst(page, x, head, 1.2 * r, 1.7 * r, (255, 255, 255))
        # The stick rests high, falls in the last eighth of a second, and springs back.
        lift = min(1.0, min(since, until) / 0.13)
        across = min(1.0, max(0.0, since / (since + until) * 2 - 0.5))
        x = places[which[k]] * (1 - across) + places[which[k + 1]] * across
        y = head - 0.02 - 0.36 * lift
        canvas.line(page, [(x, y), (x + 0.28, y - 0.22 - 0.1 * lift)], look.trim, 0.035)
        canvas.disc(page, x, y, 0.045, look.ink)

    def sound(rng, samples, rate):
        track = np.zeros(samples)
        for t, i in zip(times, which):
            length = int(0.5 * rate)
            fall = pitches[i] * 0.5 * (1 + 0.5 * np.exp(-np.arange(length) / (0.03 * rate)))
            skin = tones.sweep(fall, rate, ((1, 1.0), (1.6, 0.4))) * tones.fade(length, rate)
            tones.mix_in(track, skin * np.exp(-9 * np.arange(length) / rate), t, rate)
            tones.mix_in(track, tones.hit(rng, 0.08, rate, 800, 6000, 60), t, rate, 0.4)
        return track

    facts = {"sizes": sizes, "pitches": pitches}
    kinds = ("left", "right")
    return Scene(facts, seen([(t, kinds[i]) for t, i in zip(times, which)], seconds), draw, sound)


def string(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """Two or three strings are plucked in turn; short ones are higher."""
    times = beats(rng, seconds, 0.3, 0.9 - 0.4 * look.speed)
    strings = int(rng.integers(2, 4))
    sizes = [round((look.size + 0.37 * i) % 1.0, 4) for i in range(strings)]
    pitches = [pitch_of(look.hue, s) for s in sizes]
    which = rng.integers(0, strings, len(times))
    heights, where = np.linspace(0.28, 0.74, strings), rng.uniform(0.3, 0.7)
    along = np.linspace(0, 1, 17)

    def draw(page, t):
        canvas.box(page, 0.04, 0.16, 0.96, 0.86, look.trim)
        k, since, until = around(times, t)
        for i in range(strings):
            half, y = 0.14 + 0.26 * sizes[i], heights[i]
            last = max((times[j] for j in range(k + 1) if which[j] == i), default=-9.0)
            swing = 0.1 * math.exp(-4.5 * (t - last)) * math.cos(2 * math.pi * 6.3 * (t - last))
            for x in (0.5 - half, 0.5 + half):
                canvas.box(page, x - 0.015, y - 0.05, x + 0.015, y + 0.05, look.dark)
            # A ghost on the other side: the eye sees a vibrating string as a spindle.
            for side, ink in ((-0.7, look.dark), (1.0, look.ink)):
                curve = [
                    (0.5 - half + 2 * half * u, y + side * swing * math.sin(math.pi * u))
                    for u in along
                ]
                canvas.line(page, curve, ink, 0.03)
        # The pick goes through the string, glides to the next and waits above it.
        high, after = heights[which[k]], heights[which[k + 1]]
        moments = (0.0, 0.1, since + until - 0.12, since + until)
        x = 0.5 + (where - 0.5) * 0.5
        y = float(np.interp(since, moments, (high, high + 0.06, after - 0.1, after)))
        canvas.polygon(page, [(x, y), (x - 0.045, y - 0.1), (x + 0.045, y - 0.1)], look.ink)

    def sound(rng, samples, rate):
        track = np.zeros(samples)
        partials = tuple((k, 1 / k) for k in range(1, 9))
        tuned = [tones.ring(p, 1.2, rate, partials, 3.5) for p in pitches]
        for t, i in zip(times, which):
            tones.mix_in(track, tuned[i], t, rate)
        return track

    facts = {"sizes": sizes, "pitches": pitches}
    moments = [(t, f"string{i}") for t, i in zip(times, which)]
    return Scene(facts, seen(moments, seconds), draw, sound)


def pendulum(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """A pendulum ticks when it touches the post at either end of its swing."""
    count, times = turning(rng, 1.9 + 1.5 * look.speed, 0.3)
    touches = times(seconds)
    length, reach = rng.uniform(0.5, 0.62), rng.uniform(0.5, 0.7)
    radius, top = 0.06 + 0.06 * look.size, 0.14

    def draw(page, t):
        turns = count(t)
        angle = reach * math.cos(math.pi * turns)
        touched = round(turns) if abs(turns - round(turns)) < 0.2 else None
        canvas.line(page, [(0.2, top), (0.8, top)], look.trim, 0.05)
        for k, way in ((0, 1), (1, -1)):
            x = 0.5 + way * (length * math.sin(reach) + radius + 0.03)
            y = top + length * math.cos(reach)
            hit = touched is not None and touched % 2 == k and turns >= touched
            canvas.box(
                page, x - 0.03, y - 0.1, x + 0.03, 1.2, (255, 255, 255) if hit else look.trim
            )
            if hit:
                canvas.burst(page, x, y, 0.08, 0.15, (255, 255, 255), 6, 0.02)
        x, y = 0.5 + length * math.sin(angle), top + length * math.cos(angle)
        canvas.line(page, [(0.5, top), (x, y)], look.dark, 0.03)
        canvas.disc(page, x, y, radius + 0.015, look.dark)
        canvas.disc(page, x, y, radius, look.ink)

    def sound(rng, samples, rate):
        track = np.zeros(samples)
        for k, t in touches:
            pitch = look.pitch * (4.0 if k % 2 == 0 else 3.2)
            tick = tones.ring(pitch, 0.08, rate, ((1, 1.0), (1.5, 0.5)), 70)
            tones.mix_in(track, tick, t, rate)
            tones.mix_in(track, tones.hit(rng, 0.02, rate, 3000, 9000, 250), t, rate, 0.4)
        return track

    moments = [(t, "right" if k % 2 == 0 else "left") for k, t in touches]
    return Scene({}, seen(moments, seconds), draw, sound)


def walker(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """A stick figure walks; each foot thuds where it comes down."""
    count, times = turning(rng, 1.7 + 1.8 * look.speed, 0.3)
    steps = times(seconds)
    tall, stride = 0.5 + 0.16 * look.size, rng.uniform(0.4, 0.55)
    floor, drift = rng.uniform(0.84, 0.92), rng.uniform(-0.12, 0.12)
    leg, thickness = 0.5 * tall, 0.035 + 0.02 * look.size

    def draw(page, t):
        turns = float(count(t))
        k = math.floor(turns)
        u = turns - k
        x = 0.5 + drift * math.sin(0.8 * t)
        hip = floor - leg * (0.93 + 0.05 * math.sin(math.pi * u))
        canvas.box(page, -0.2, floor, 1.2, floor + 0.03, look.trim)
        for mark in range(-1, 6):  # The ground runs back under the feet.
            at = 0.3 * mark - (turns * 2 * leg * math.sin(stride)) % 0.3
            canvas.line(page, [(at, floor + 0.05), (at + 0.1, floor + 0.05)], look.trim, 0.02)
        for foot, ink in ((1, look.dark), (0, look.ink)):
            stands = k % 2 == foot
            angle = stride * (1 - 2 * u if stands else 2 * u - 1)
            lift = 0.0 if stands else 0.12 * math.sin(math.pi * u)
            toe = x + leg * math.sin(angle), min(floor, hip + leg * math.cos(angle)) - lift
            knee = x + 0.55 * leg * math.sin(angle + 0.25), hip + 0.5 * leg - 0.5 * lift
            canvas.line(page, [(x, hip), knee, toe, (toe[0] + 0.06, toe[1])], ink, thickness)
            if stands and u < 0.3:
                canvas.burst(page, toe[0] + 0.03, floor, 0.05, 0.12, (255, 255, 255), 6, 0.02)
            hand = x - 0.3 * tall * math.sin(angle), hip - 0.1 * tall
            canvas.line(page, [(x, hip - 0.33 * tall), hand], ink, thickness)
        canvas.line(page, [(x, hip), (x, hip - 0.38 * tall)], look.ink, thickness * 1.3)
        canvas.disc(page, x, hip - 0.45 * tall, 0.1 * tall, look.ink)

    def sound(rng, samples, rate):
        track = np.zeros(samples)
        for k, t in steps:
            pitch = look.pitch * (0.5 if k % 2 == 0 else 0.45)
            tones.mix_in(track, tones.ring(pitch, 0.15, rate, ((1, 1.0),), 30), t, rate)
            tones.mix_in(track, tones.hit(rng, 0.12, rate, 150, 1500, 45), t, rate, 0.5)
            tones.mix_in(track, tones.hit(rng, 0.05, rate, 2000, 6000, 80), t + 0.03, rate, 0.15)
        return track

    moments = [(t, "right" if k % 2 == 0 else "left") for k, t in steps]
    return Scene({}, seen(moments, seconds), draw, sound)


def firework(rng: np.random.Generator, look: Look, seconds: float) -> Scene:
    """Rockets whistle up and burst; the burst booms and crackles."""
    times = beats(rng, seconds, 0.45, 1.1 - 0.4 * look.speed)
    places = rng.uniform((0.25, 0.2), (0.75, 0.5), (len(times), 2))
    rays, reach, rise = int(rng.integers(10, 18)), 0.14 + 0.16 * look.size, 0.4

    def draw(page, t):
        k, _, until = around(times, t)
        canvas.box(page, -0.2, 0.93, 1.2, 1.2, look.trim)
        for j in (k - 1, k):
            since = t - times[j]
            left = 1 - since / 0.8
            if j < 0 or left <= 0:
                continue
            (x, y), r = places[j], reach * (1 - math.exp(-7 * (since + 0.02)))
            if since < 0.12:
                canvas.glow(page, x, y, 1.3 * reach, (255, 255, 255), 0.5)
            sink = 0.15 * since**2
            canvas.burst(page, x, y + sink, r * (1 - left) * 0.8, r, look.ink, rays, 0.025)
            canvas.burst(page, x, y + sink, 0.9 * r, r, canvas.shade(look.ink, 1.6), rays, 0.04)
        if until < rise:
            x, y = places[k + 1]
            head = y + (0.95 - y) * until / rise
            canvas.line(page, [(x, head), (x, head + 0.12)], look.dark, 0.03)
            canvas.disc(page, x, head, 0.025, (255, 255, 255))

    def sound(rng, samples, rate):
        track = np.zeros(samples)
        t = np.arange(int(0.8 * rate)) / rate
        climb = np.arange(int(rise * rate)) / (rise * rate)
        whistle = tones.sweep(look.pitch * (2 + 2 * climb), rate, ((1, 1.0),))
        whistle *= climb * tones.fade(len(climb), rate)
        boom = tones.ring(look.pitch * 0.5, 0.6, rate, ((1, 1.0), (1.37, 0.7), (2.3, 0.4)), 7)
        for at in times:
            sparks = (rng.random(len(t)) < 0.004) * rng.uniform(-1, 1, len(t)) * np.exp(-4 * t)
            crackle = np.convolve(sparks, np.exp(-np.arange(40) / 8.0))[: len(t)]
            tones.mix_in(track, whistle, at - rise, rate, 0.15)
            tones.mix_in(track, boom, at, rate)
            tones.mix_in(track, tones.hit(rng, 0.2, rate, 60, 3000, 18), at, rate, 0.6)
            tones.mix_in(track, crackle, at, rate, 1.2)
        return track

    return Scene({}, seen([(t, "burst") for t in times], seconds), draw, sound)
