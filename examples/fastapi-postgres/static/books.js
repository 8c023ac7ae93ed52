const list = document.querySelector('ul');
const form = document.querySelector('form');

async function send(method, path, body) {
  await fetch(path, { method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
  await show();
}

async function show() {
  const books = await (await fetch('/api/books')).json();
  list.replaceChildren(...books.map(row));
}

function row({ id, title, author, read }) {
  const item = Object.assign(document.createElement('li'), { className: read ? 'card read' : 'card' });
  const label = document.createElement('label');
  const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: read });
  box.addEventListener('change', () => send('PATCH', `/api/books/${id}`, { read: box.checked }));
  const words = Object.assign(document.createElement('span'), { textContent: title });
  if (author) words.append(Object.assign(document.createElement('small'), { textContent: author }));
  label.append(box, words);
  const remove = Object.assign(document.createElement('button'), { type: 'button', textContent: '×', ariaLabel: `Remove ${title}` });
  remove.addEventListener('click', () => send('DELETE', `/api/books/${id}`));
  item.append(label, remove);
  return item;
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  await send('POST', '/api/books', { title: form.elements.title.value, author: form.elements.author.value });
  form.reset();
});

show();
