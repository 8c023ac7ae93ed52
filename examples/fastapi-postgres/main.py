"""A reading list: FastAPI answers JSON, PostgreSQL keeps it, a page of plain HTML shows it."""

from pathlib import Path
from typing import List

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

import store

HERE = Path(__file__).parent

app = FastAPI(title="Reading list", description="What to read, and what is read.")
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
store.prepare()


class NewBook(BaseModel):
    title: str = Field(min_length=1, max_length=120)
    author: str = Field(default="", max_length=120)


class Book(NewBook):
    id: int
    read: bool


class Change(BaseModel):
    read: bool


@app.get("/", include_in_schema=False)
def page():
    return FileResponse(HERE / "static" / "index.html")


@app.get("/api/books", response_model=List[Book])
def books():
    """All books, those to read first."""
    return store.all()


@app.post("/api/books", response_model=Book, status_code=201)
def add(book: NewBook):
    return store.add(book.title.replace("\0", ""), book.author.replace("\0", ""))


@app.patch("/api/books/{book_id}", response_model=Book)
def change(book_id: int, change: Change):
    changed = store.set_read(book_id, change.read)
    if changed is None:
        raise HTTPException(404, "There is no such book.")
    return changed


@app.delete("/api/books/{book_id}", status_code=204)
def remove(book_id: int):
    if not store.remove(book_id):
        raise HTTPException(404, "There is no such book.")
    return Response(status_code=204)
