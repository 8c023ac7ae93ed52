'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const path = require('node:path');
const test = require('node:test');

test('says hello on PORT and ends at SIGTERM', { timeout: 10_000 }, async (t) => {
  const app = spawn(process.execPath, [path.join(__dirname, 'index.js')], {
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => app.kill('SIGKILL'));

  const [line] = await once(app.stdout.setEncoding('utf8'), 'data');
  const port = Number(line.match(/port (\d+)/)[1]);

  const hello = await fetch(`http://127.0.0.1:${port}/`);
  assert.equal(hello.status, 200);
  assert.match(await hello.text(), new RegExp(`^Hello from node-hello 1\\.0\\.0 on Node\\.js ${process.version}\\n$`));

  const missing = await fetch(`http://127.0.0.1:${port}/missing`);
  assert.equal(missing.status, 404);
  await missing.text();

  app.kill('SIGTERM');
  const [code] = await once(app, 'exit');
  assert.equal(code, 0);
});
