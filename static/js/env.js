// Reading of .env files as people paste them.

const name = /^[A-Za-z_][A-Za-z0-9_]*$/;

// parseEnv answers the [key, value] pairs of a .env file in order; of a key that
// comes twice, the last value at the first one's place. It knows "export", comments,
// single, double and backtick quotes, values over several lines, and \n, \r, \t, \" and
// \\ within double quotes. Lines that are nothing of the sort are passed over. References such
// as ${OTHER} stay as they are.
export function parseEnv(text) {
  const found = new Map();
  const source = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  let at = 0;
  while (at < source.length) {
    const end = lineEnd(source, at);
    const head = /^[ \t]*(?:export[ \t]+)?([^=\s#]+)[ \t]*=[ \t]*/.exec(source.slice(at, end));
    if (!head || !name.test(head[1])) {
      at = end + 1;
      continue;
    }
    const [value, next] = readValue(source, at + head[0].length);
    found.set(head[1], value);
    at = next;
  }
  return [...found];
}

// looksLikeEnv reports whether pasted text is more than a name: at least one
// NAME=value.
export function looksLikeEnv(text) {
  return parseEnv(text).length > 0;
}

function lineEnd(source, at) {
  const end = source.indexOf("\n", at);
  return end < 0 ? source.length : end;
}

// readValue answers the value that begins at, and where the next line begins.
function readValue(source, at) {
  const quote = source[at];
  if (quote === '"' || quote === "'" || quote === "`") {
    const close = closing(source, at, quote);
    if (close > 0) {
      const inside = source.slice(at + 1, close);
      return [quote === '"' ? unescape(inside) : inside, lineEnd(source, close) + 1];
    }
  }
  const end = lineEnd(source, at);
  return [source.slice(at, end).replace(/(^|\s)#.*$/, "").trim(), end + 1];
}

// closing answers where the quote that opens at ends, 0 if it does not. What
// follows it may only be a comment.
function closing(source, at, quote) {
  for (let i = at + 1; i < source.length; i++) {
    if (source[i] === "\\" && quote === '"') i++;
    else if (source[i] === quote) return /^[ \t]*(#.*)?$/.test(source.slice(i + 1, lineEnd(source, i))) ? i : 0;
  }
  return 0;
}

function unescape(text) {
  const meaning = { n: "\n", r: "\r", t: "\t", '"': '"', "\\": "\\" };
  return text.replace(/\\(.)/g, (whole, letter) => meaning[letter] ?? whole);
}
