'use strict';

const { MAX_NAME, MAX_MESSAGE } = require('./entries');

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (value) => String(value).replace(/[&<>"']/g, (character) => ESCAPES[character]);

// html is a template tag: every value is escaped, except what html itself made.
function html(strings, ...values) {
  const made = strings.reduce((whole, part, i) => whole + render(values[i - 1]) + part);
  return { made };
}

function render(value) {
  if (Array.isArray(value)) return value.map(render).join('');
  return value?.made ?? escape(value ?? '');
}

const day = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' });

function frame(title, body) {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`.made;
}

function entryItem({ name, message, created_at: at }) {
  const hue = [...name].reduce((sum, character) => sum + character.codePointAt(0), 0) % 8;
  return html`<li>
<span class="mark mark-${hue}" aria-hidden="true">${[...name][0].toUpperCase()}</span>
<article>
<header><strong>${name}</strong> <time datetime="${at.toISOString()}">${day.format(at)} UTC</time></header>
<p>${message}</p>
</article>
</li>
`;
}

function guestBook(entries, total, draft, problem) {
  return frame('Guest book', html`<header class="top">
<h1>Guest book</h1>
<p>${total === 0 ? 'Nobody has signed yet.' : total === 1 ? '1 person has signed.' : `${total} people have signed.`}</p>
</header>
<form method="post" action="/entries">
${problem ? html`<p class="problem" role="alert">${problem}</p>` : ''}
<label for="name">Name</label>
<input id="name" name="name" required maxlength="${MAX_NAME}" autocomplete="name" value="${draft.name}">
<label for="message">Message</label>
<textarea id="message" name="message" required maxlength="${MAX_MESSAGE}" rows="3">${draft.message}</textarea>
<button type="submit">Sign the book</button>
</form>
${entries.length ? html`<ol class="entries">
${entries.map(entryItem)}</ol>` : html`<p class="empty">Be the first: the page is all yours.</p>`}`);
}

function notice(title, sentence) {
  return frame(title, html`<header class="top"><h1>${title}</h1><p>${sentence}</p></header>
<p><a href="/">Back to the guest book</a></p>`);
}

module.exports = { guestBook, notice };
