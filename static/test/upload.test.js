import assert from "node:assert/strict";
import test from "node:test";
import { isArchive, isOtherArchive, projectName } from "../js/archive.js";
import { Refusal, outcome, uploadPath } from "../js/upload.js";

test("the address says what the upload is", () => {
  const path = uploadPath({ name: "größe & co", project: "", filename: "größe & co", omitted: [".git/", "node_modules/ (2 folders)"] });
  const query = new URLSearchParams(path.slice("/upload?".length));
  assert.equal(path.startsWith("/upload?"), true);
  assert.equal(query.get("name"), "größe & co");
  assert.equal(query.has("project"), false);
  assert.deepEqual(query.getAll("omitted"), [".git/", "node_modules/ (2 folders)"]);
  const again = new URLSearchParams(uploadPath({ name: "x", project: "p1", filename: "f.zip", omitted: [] }).slice("/upload?".length));
  assert.equal(again.get("project"), "p1");
  assert.equal(again.has("name"), false);
});

test("an answer is a place or a sentence", () => {
  assert.equal(outcome(201, '{"location":"/projects/1/bundles/2"}'), "/projects/1/bundles/2");
  const refused = outcome(422, '{"error":"The archive is damaged."}');
  assert.equal(refused instanceof Refusal, true);
  assert.equal(refused.message, "The archive is damaged.");
  assert.equal(outcome(400, '{"detail":"No."}').message, "No.");
  assert.match(outcome(413, "<html>").message, /larger/);
  assert.match(outcome(200, "<html>log in").message, /not logged in/);
  assert.match(outcome(401, "").message, /not logged in/);
  assert.match(outcome(502, "<html>").message, /502/);
  assert.match(outcome(500, "null").message, /500/);
});

test("archives by name", () => {
  for (const name of ["a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"]) assert.equal(isArchive(name), true, name);
  for (const name of ["a.js", "zip", "a.gz", "a.rar", "a.tar.xz"]) assert.equal(isArchive(name), false, name);
  for (const name of ["a.rar", "a.7z", "a.tar.xz", "a.gz", "a.tar.bz2"]) assert.equal(isOtherArchive(name), true, name);
  for (const name of ["a.zip", "index.html", "a.tar.gz"]) assert.equal(isOtherArchive(name), false, name);
});

test("a project is called after the folder or the archive", () => {
  assert.equal(projectName("guest-book"), "guest-book");
  assert.equal(projectName("guest-book.tar.gz"), "guest-book");
  assert.equal(projectName("guest-book-main.zip"), "guest-book");
  assert.equal(projectName("main.zip"), "main");
  assert.equal(projectName(".zip"), ".zip");
});
