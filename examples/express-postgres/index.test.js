'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { Client } = require('pg');

const { DATABASE_URL } = process.env;
const schema = `guestbook_test_${process.pid}`;
let database;
let running;

// start runs the real program on a free port, with a schema of its own in the database.
async function start() {
  const url = new URL(DATABASE_URL);
  url.searchParams.set('options', `-c search_path=${schema}`);
  const app = spawn(process.execPath, [path.join(__dirname, 'index.js')], {
    env: { ...process.env, PORT: '0', DATABASE_URL: url.href },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  for await (const chunk of app.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    output += chunk;
    const listening = output.match(/listening on port (\d+)/);
    if (listening) return { app, base: `http://127.0.0.1:${listening[1]}` };
  }
  throw new Error(`The program ended before it listened: ${output}`);
}

async function stop({ app }) {
  const ended = once(app, 'exit');
  app.kill('SIGTERM');
  const [code] = await ended;
  return code;
}

function post(body, type) {
  return fetch(`${running.base}/entries`, {
    method: 'POST', body, redirect: 'manual', headers: { 'content-type': type },
  });
}

before(async () => {
  assert.ok(DATABASE_URL, 'Set DATABASE_URL to a PostgreSQL database that the tests may use.');
  database = new Client({ connectionString: DATABASE_URL });
  await database.connect();
  await database.query(`CREATE SCHEMA ${schema}`);
  running = await start();
});

after(async () => {
  running?.app.kill('SIGKILL');
  await database?.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
  await database?.end();
});

test('an empty book invites the first visitor', async () => {
  const response = await fetch(running.base);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/html; charset=utf-8/);
  assert.match(await response.text(), /Nobody has signed yet/);
});

test('the form writes a row and leads back to the page', async () => {
  const response = await post(new URLSearchParams({ name: 'Ada', message: 'Zdravo,\r\nсвет ☀' }).toString(),
    'application/x-www-form-urlencoded');
  assert.equal(response.status, 303);
  assert.equal(response.headers.get('location'), '/');
  const page = await (await fetch(running.base)).text();
  assert.match(page, /1 person has signed/);
  assert.match(page, /<strong>Ada<\/strong>/);
  assert.match(page, /<p>Zdravo,\nсвет ☀<\/p>/);
});

test('JSON writes a row and the list has the newest first', async () => {
  const response = await post(JSON.stringify({ name: 'Grace', message: 'Hello from JSON' }), 'application/json');
  assert.equal(response.status, 201);
  const added = await response.json();
  assert.equal(added.name, 'Grace');

  const { entries } = await (await fetch(`${running.base}/api/entries`)).json();
  assert.deepEqual(entries[0], added);
  assert.deepEqual(entries.map((entry) => entry.name), ['Grace', 'Ada']);
});

test('markup in an entry is shown as text', async () => {
  const hostile = `<script>alert("x")</script> & 'quotes'`;
  await post(JSON.stringify({ name: '<b>Eve</b>', message: hostile }), 'application/json');
  const page = await (await fetch(running.base)).text();
  assert.ok(!page.includes('<script>') && !page.includes('<b>Eve'));
  assert.ok(page.includes('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;quotes&#39;'));
});

test('what cannot be written is refused with a sentence', async () => {
  const cases = [
    ['{"name":"","message":"hi"}', 400, 'Please tell us your name.'],
    ['{"name":"Ada"}', 400, 'Please write a message.'],
    ['{"name":7,"message":["x"]}', 400, 'Please tell us your name.'],
    ['[]', 400, 'Please tell us your name.'],
    [JSON.stringify({ name: 'n'.repeat(61), message: 'm' }), 400, 'Please use at most 60 characters for your name.'],
    [JSON.stringify({ name: 'n', message: 'm'.repeat(501) }), 400, 'Please use at most 500 characters for your message.'],
    [JSON.stringify({ name: 'n', message: 'm'.repeat(20_000) }), 413, 'That is longer than the guest book takes.'],
    ['{"name":', 400, 'The guest book could not read what was sent.'],
  ];
  for (const [body, status, sentence] of cases) {
    const response = await post(body, 'application/json');
    assert.equal(response.status, status, body.slice(0, 40));
    assert.equal((await response.json()).error, sentence);
  }

  const form = await post('name=%3Cb%3E&message=', 'application/x-www-form-urlencoded');
  assert.equal(form.status, 400);
  const page = await form.text();
  assert.match(page, /role="alert">Please write a message\./);
  assert.match(page, /value="&lt;b&gt;"/);
});

test('a NUL character does not reach the database', async () => {
  const response = await post(JSON.stringify({ name: 'N\0ul', message: 'a\0b' }), 'application/json');
  assert.equal(response.status, 201);
  const { name, message } = await response.json();
  assert.deepEqual({ name, message }, { name: 'Nul', message: 'ab' });
});

test('health, style sheet and missing pages answer', async () => {
  const health = await fetch(`${running.base}/healthz`);
  assert.equal(health.status, 200);
  assert.deepEqual(await health.json(), { status: 'ok' });
  const style = await fetch(`${running.base}/style.css`);
  assert.match(style.headers.get('content-type'), /^text\/css/);
  await style.text();
  const missing = await fetch(`${running.base}/nothing`);
  assert.equal(missing.status, 404);
  assert.match(await missing.text(), /This page does not exist/);
});

test('entries outlive the program, and SIGTERM ends it cleanly', async () => {
  assert.equal(await stop(running), 0);
  running = await start();
  const { entries } = await (await fetch(`${running.base}/api/entries`)).json();
  assert.equal(entries.at(-1).name, 'Ada');
});

test('without DATABASE_URL it says what to set', async () => {
  const env = { ...process.env, PORT: '0' };
  delete env.DATABASE_URL;
  const app = spawn(process.execPath, [path.join(__dirname, 'index.js')], { env, stdio: ['ignore', 'inherit', 'pipe'] });
  let said = '';
  app.stderr.setEncoding('utf8').on('data', (chunk) => { said += chunk; });
  const [code] = await once(app, 'close');
  assert.equal(code, 1);
  assert.match(said, /DATABASE_URL is not set/);
});
