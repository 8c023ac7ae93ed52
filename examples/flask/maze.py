"""Mazes in which every field can be reached by exactly one way."""

import random

MIN_SIZE, MAX_SIZE = 4, 60


class Maze:
    """A maze of size by size fields, always the same for the same word."""

    def __init__(self, word, size):
        self.size = size
        self.open = set()  # pairs of neighbours without a wall between them
        self._carve(random.Random(word))

    def _carve(self, dice):
        way, seen = [(0, 0)], {(0, 0)}
        while way:
            here = way[-1]
            ahead = [field for field in self._around(here) if field not in seen]
            if not ahead:
                way.pop()
                continue
            chosen = dice.choice(ahead)
            self.open |= {(here, chosen), (chosen, here)}
            seen.add(chosen)
            way.append(chosen)

    def _around(self, field):
        x, y = field
        near = [(x + 1, y), (x, y + 1), (x - 1, y), (x, y - 1)]
        return [(a, b) for a, b in near if 0 <= a < self.size and 0 <= b < self.size]

    def svg(self):
        """The walls as one path; the way in is at the top left, the way out at the bottom right."""
        n, walls = self.size, []
        for y in range(n):
            for x in range(n):
                if x + 1 < n and ((x, y), (x + 1, y)) not in self.open:
                    walls.append(f"M{x + 1} {y}v1")
                if y + 1 < n and ((x, y), (x, y + 1)) not in self.open:
                    walls.append(f"M{x} {y + 1}h1")
        frame = f"M1 0H{n}V{n - 1}M{n - 1} {n}H0V0"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-0.5 -0.5 {n + 1} {n + 1}">'
            f'<rect x="-0.5" y="-0.5" width="{n + 1}" height="{n + 1}" rx="0.6" fill="#fffdf8"/>'
            f'<path d="{frame}{"".join(walls)}" fill="none" stroke="#4a3b28" stroke-width="0.16" stroke-linecap="round"/>'
            "</svg>"
        )
