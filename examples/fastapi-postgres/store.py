"""The books, as rows of one table."""

import os
from contextlib import contextmanager

from psycopg2.extras import RealDictCursor
from psycopg2.pool import ThreadedConnectionPool

_pool = ThreadedConnectionPool(1, 40, os.environ["DATABASE_URL"], cursor_factory=RealDictCursor)


@contextmanager
def _cursor():
    """A cursor in a transaction of its own. A connection that broke is not used again."""
    connection = _pool.getconn()
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        _pool.putconn(connection, close=connection.closed != 0)


def prepare():
    with _cursor() as cursor:
        cursor.execute(
            """CREATE TABLE IF NOT EXISTS books (
                 id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                 title  text NOT NULL,
                 author text NOT NULL,
                 read   boolean NOT NULL DEFAULT false
               )"""
        )


def all():
    with _cursor() as cursor:
        cursor.execute("SELECT id, title, author, read FROM books ORDER BY read, id DESC LIMIT 200")
        return cursor.fetchall()


def add(title, author):
    with _cursor() as cursor:
        cursor.execute(
            "INSERT INTO books (title, author) VALUES (%s, %s) RETURNING id, title, author, read", (title, author)
        )
        return cursor.fetchone()


def set_read(book_id, read):
    """The changed book, or None if there is none."""
    with _cursor() as cursor:
        cursor.execute("UPDATE books SET read = %s WHERE id = %s RETURNING id, title, author, read", (read, book_id))
        return cursor.fetchone()


def remove(book_id):
    """Whether there was such a book."""
    with _cursor() as cursor:
        cursor.execute("DELETE FROM books WHERE id = %s", (book_id,))
        return cursor.rowcount == 1
