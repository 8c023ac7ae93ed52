const columns = { todo: 'To do', doing: 'Doing', done: 'Done' };
const after = { todo: 'doing', doing: 'done', done: 'todo' };
const board = document.querySelector('.board');
const form = document.querySelector('form');

async function send(method, path, body) {
  await fetch(path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  await show();
}

async function show() {
  const tasks = await (await fetch('/api/tasks')).json();
  board.replaceChildren(...Object.entries(columns).map(([column, title]) => {
    const list = element('ul');
    list.append(...tasks.filter((task) => task.column === column).map(item));
    const card = element('section', { className: 'card' });
    card.append(element('h2', { textContent: title }), list);
    return card;
  }));
}

function item(task) {
  const row = element('li');
  const move = element('button', { type: 'button', textContent: '→', ariaLabel: `Move to ${columns[after[task.column]]}` });
  move.addEventListener('click', () => send('PATCH', `/api/tasks/${task.id}`, { column: after[task.column] }));
  row.append(element('span', { textContent: task.title }), move);
  return row;
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  await send('POST', '/api/tasks', { title: form.title.value });
  form.reset();
});

show();
