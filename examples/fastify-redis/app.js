import { readFile } from 'node:fs/promises';
import Fastify from 'fastify';
import { CHOICES } from './votes.js';
import { poll } from './page.js';

// createApp returns the poll's routes over the given votes.
export async function createApp(votes) {
  const app = Fastify();
  const style = await readFile(new URL('./public/style.css', import.meta.url));

  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (request, body, done) => {
    done(null, Object.fromEntries(new URLSearchParams(body)));
  });

  app.get('/', async (request, reply) => {
    reply.type('text/html').header('cache-control', 'no-store');
    return poll(await votes.all());
  });

  app.get('/style.css', async (request, reply) => reply.type('text/css').send(style));

  app.get('/api/votes', async () => ({ votes: await votes.all() }));

  const body = {
    type: 'object',
    required: ['choice'],
    properties: { choice: { type: 'string', enum: CHOICES } },
  };
  app.post('/votes', { schema: { body } }, async (request, reply) => {
    await votes.add(request.body.choice);
    return reply.redirect('/', 303);
  });

  return app;
}
