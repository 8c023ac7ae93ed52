'use strict';

const { setTimeout: wait } = require('node:timers/promises');

const MAX_NAME = 60;
const MAX_MESSAGE = 500;

// What a database says while it is still starting.
const NOT_YET = new Set(['ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', '57P03']);

// Entries are the rows of the guest book.
class Entries {
  constructor(pool) {
    this.pool = pool;
  }

  // prepare creates the table. It waits up to 15 seconds for a database that is still starting.
  async prepare() {
    const deadline = Date.now() + 15_000;
    for (;;) {
      try {
        await this.pool.query(`
          CREATE TABLE IF NOT EXISTS entries (
            id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name       text NOT NULL,
            message    text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
          )`);
        return;
      } catch (error) {
        if (!NOT_YET.has(error.code) || Date.now() > deadline) {
          throw new Error(`The database in DATABASE_URL cannot be used: ${error.message || error.code}`);
        }
        await wait(250);
      }
    }
  }

  async check() {
    await this.pool.query('SELECT 1');
  }

  // newest lists at most 100 entries, the newest first.
  async newest() {
    const { rows } = await this.pool.query(
      'SELECT id, name, message, created_at FROM entries ORDER BY id DESC LIMIT 100');
    return rows;
  }

  async count() {
    const { rows } = await this.pool.query('SELECT count(*)::int AS count FROM entries');
    return rows[0].count;
  }

  async add({ name, message }) {
    const { rows } = await this.pool.query(
      'INSERT INTO entries (name, message) VALUES ($1, $2) RETURNING id, name, message, created_at',
      [name, message]);
    return rows[0];
  }
}

// readEntry turns what was posted into an entry, or says what is wrong with it.
function readEntry(body) {
  const name = text(body?.name);
  const message = text(body?.message);
  let problem = '';
  if (!name) problem = 'Please tell us your name.';
  else if (name.length > MAX_NAME) problem = `Please use at most ${MAX_NAME} characters for your name.`;
  else if (!message) problem = 'Please write a message.';
  else if (message.length > MAX_MESSAGE) problem = `Please use at most ${MAX_MESSAGE} characters for your message.`;
  return { entry: { name, message }, problem };
}

// text trims a value and drops the one character that PostgreSQL cannot store.
function text(value) {
  return typeof value === 'string' ? value.replaceAll('\0', '').replaceAll('\r\n', '\n').trim() : '';
}

module.exports = { Entries, readEntry, MAX_NAME, MAX_MESSAGE };
