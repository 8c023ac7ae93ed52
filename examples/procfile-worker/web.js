import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { add, newest } from './jobs.js';
import { page } from './page.js';

const MAX_TEXT = 20_000;
const style = await readFile(new URL('./style.css', import.meta.url));

const routes = {
  'GET /': async (request, response) => send(response, 200, 'text/html; charset=utf-8', page(await newest())),
  'GET /style.css': (request, response) => send(response, 200, 'text/css', style),
  'GET /api/texts': async (request, response) => send(response, 200, 'application/json', JSON.stringify({ texts: await newest() })),
  'POST /texts': async (request, response) => {
    const text = new URLSearchParams(await body(request)).get('text')?.replaceAll('\0', '').trim();
    if (!text || text.length > MAX_TEXT) {
      return send(response, 400, 'text/plain; charset=utf-8', `Send a text of at most ${MAX_TEXT} characters.\n`);
    }
    await add(text);
    response.writeHead(303, { location: '/' }).end();
  },
};

async function body(request) {
  const parts = [];
  let bytes = 0;
  for await (const part of request) {
    if ((bytes += part.length) <= 8 * MAX_TEXT) parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function send(response, status, type, text) {
  response.writeHead(status, { 'content-type': type }).end(text);
}

const server = http.createServer(async (request, response) => {
  const route = routes[`${request.method} ${request.url.split('?')[0]}`];
  try {
    if (route) await route(request, response);
    else send(response, 404, 'text/plain', 'Not found\n');
  } catch (error) {
    console.error(error);
    send(response, 500, 'text/plain', 'That did not work. Please try again.\n');
  }
});

server.listen(process.env.PORT ?? 3000, () => console.log(`Listening on port ${server.address().port}`));
process.once('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
