import unittest

from maze import Maze


class MazeTest(unittest.TestCase):
    def test_every_field_is_reached_by_one_way(self):
        maze = Maze("labyrinth", 12)
        self.assertEqual(len(maze.open) // 2, 12 * 12 - 1)
        reached, ahead = set(), [(0, 0)]
        while ahead:
            field = ahead.pop()
            reached.add(field)
            ahead += [b for a, b in maze.open if a == field and b not in reached]
        self.assertEqual(len(reached), 12 * 12)

    def test_a_word_has_one_maze(self):
        self.assertEqual(Maze("a", 8).svg(), Maze("a", 8).svg())
        self.assertNotEqual(Maze("a", 8).svg(), Maze("b", 8).svg())


if __name__ == "__main__":
    unittest.main()
