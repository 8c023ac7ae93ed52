import { readFile } from 'node:fs/promises';
import { serve } from '@hono/node-server';
import { roll } from '@table/dice';
import { Hono } from 'hono';

const style = await readFile(new URL('./style.css', import.meta.url), 'utf8');
const app = new Hono();

app.get('/', (c) => {
  const thrown = roll(c.req.query('dice') ?? '2d6');
  c.header('cache-control', 'no-store');
  return c.html(page(thrown), thrown ? 200 : 400);
});

app.get('/api/roll/:dice', (c) => {
  const thrown = roll(c.req.param('dice'));
  return thrown ? c.json(thrown) : c.json({ error: 'Write dice as 2d6 or 3d8+2.' }, 400);
});

app.get('/style.css', (c) => c.body(style, 200, { 'content-type': 'text/css' }));

// page shows a throw. All that is in it is the package's own numbers.
function page(thrown) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Dice table</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<h1>Dice table</h1>
<p class="lead">${thrown ? `${thrown.notation}, just thrown.` : 'Those are no dice. Write them as 2d6 or 3d8+2.'}</p>
${thrown ? `<section class="card"><ul>${thrown.dice.map((one) => `<li>${one}</li>`).join('')}</ul>
<p class="total">${thrown.total}</p></section>` : ''}
<form><input name="dice" value="${thrown?.notation ?? '2d6'}" aria-label="Dice" required><button>Throw</button></form>
</main>
</body>
</html>
`;
}

const server = serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000), hostname: '0.0.0.0' }, ({ port }) => {
  console.log(`The table stands on port ${port}`);
});
process.once('SIGTERM', () => server.close());
