'use strict';

const path = require('node:path');
const express = require('express');
const { readEntry } = require('./entries');
const { guestBook, notice } = require('./page');

// createApp returns the guest book's routes over the given entries.
function createApp(entries) {
  const app = express();
  app.disable('x-powered-by');
  app.use((request, response, next) => {
    response.set({
      'content-security-policy': "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'",
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'same-origin',
    });
    next();
  });
  app.use(express.static(path.join(__dirname, 'public'), { index: false, maxAge: '1h' }));

  const showBook = async (response, draft, problem) => {
    const [rows, total] = await Promise.all([entries.newest(), entries.count()]);
    response.set('cache-control', 'no-store').send(guestBook(rows, total, draft, problem));
  };

  app.get('/', (request, response) => showBook(response, {}, ''));

  app.get('/api/entries', async (request, response) => {
    response.json({ entries: await entries.newest() });
  });

  const parse = [express.urlencoded({ extended: false, limit: '16kb' }), express.json({ limit: '16kb' })];
  app.post('/entries', parse, async (request, response) => {
    const { entry, problem } = readEntry(request.body);
    const asJSON = request.is('json');
    if (problem) {
      response.status(400);
      if (asJSON) return response.json({ error: problem });
      return showBook(response, entry, problem);
    }
    const added = await entries.add(entry);
    if (asJSON) return response.status(201).json(added);
    response.redirect(303, '/');
  });

  app.get('/healthz', async (request, response) => {
    try {
      await entries.check();
      response.json({ status: 'ok' });
    } catch (error) {
      console.error(`The database does not answer: ${error.message || error.code}`);
      response.status(503).json({ status: 'the database does not answer' });
    }
  });

  app.use((request, response) => {
    response.status(404).send(notice('Nothing here', 'This page does not exist.'));
  });

  app.use((error, request, response, next) => {
    if (response.headersSent) return next(error);
    const status = error.status >= 400 && error.status < 500 ? error.status : 500;
    if (status === 500) console.error(error);
    const sentence = status === 413 ? 'That is longer than the guest book takes.'
      : status === 500 ? 'The guest book cannot reach its pages right now. Please try again.'
        : 'The guest book could not read what was sent.';
    response.status(status);
    if (request.is('json') || request.path.startsWith('/api/')) return response.json({ error: sentence });
    response.send(notice('That did not work', sentence));
  });

  return app;
}

module.exports = { createApp };
