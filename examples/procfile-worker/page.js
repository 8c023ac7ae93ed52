const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text) => text.replace(/[&<>"']/g, (character) => ESCAPES[character]);

// page lists the texts. While one is open it asks for itself again.
export function page(texts) {
  const open = texts.some(({ result }) => !result);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${open ? '<meta http-equiv="refresh" content="1">' : ''}
<title>Word counter</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<h1>Word counter</h1>
<p class="lead">The page takes a text, a worker beside it counts.</p>
<form class="card" method="post" action="/texts">
<label for="text">Text</label>
<textarea id="text" name="text" rows="5" maxlength="20000" required></textarea>
<button>Count the words</button>
</form>
${texts.map(row).join('\n')}
</main>
</body>
</html>
`;
}

function row({ text, result }) {
  return `<article class="card"><p class="text">${escape(text.length > 140 ? `${text.slice(0, 139)}…` : text)}</p>
<p class="result">${result ? `<strong>${result.words} words</strong>, ${result.different} different. ${result.top.map(([word, times]) => `${escape(word)} ${times}`).join(' · ')}` : 'The worker has it …'}</p></article>`;
}
