"""A maze for every word: Flask draws it on the server as an SVG."""

from flask import Flask, Response, render_template, request

from maze import Maze, MAX_SIZE, MIN_SIZE

app = Flask(__name__)


def asked():
    """The word and size that the address asks for, within bounds."""
    word = request.args.get("word", "").strip()[:40] or "labyrinth"
    size = request.args.get("size", default=16, type=int)
    return word, min(max(size, MIN_SIZE), MAX_SIZE)


@app.get("/")
def page():
    word, size = asked()
    return render_template("page.html", word=word, size=size, smallest=MIN_SIZE, largest=MAX_SIZE)


@app.get("/maze.svg")
def maze():
    word, size = asked()
    return Response(Maze(word, size).svg(), mimetype="image/svg+xml")
