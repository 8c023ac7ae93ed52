// poll is the whole page. Names and counts are the program's own, so that nothing has to be escaped.
export function poll(votes) {
  const total = votes.reduce((sum, { count }) => sum + count, 0);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What is in your cup?</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<main>
<h1>What is in your cup?</h1>
<p class="lead">${total === 1 ? '1 vote' : `${total} votes`} so far. Vote as often as you drink.</p>
${votes.map((choice) => row(choice, total)).join('\n')}
</main>
</body>
</html>
`;
}

function row({ name, count }, total) {
  return `<section class="card choice">
<div class="bar"><strong><span>${name}</span> <span>${count}</span></strong>
<progress value="${count}" max="${Math.max(total, 1)}" aria-label="${name}"></progress></div>
<form method="post" action="/votes"><input type="hidden" name="choice" value="${name}"><button>Vote</button></form>
</section>`;
}
