// Whether what the server writes arrives as it is written, by the time between the
// first and the last of a stream that has a second in its middle.

// gap reads a stream to its end and answers how many milliseconds lay between its
// first and its last piece; undefined if nothing came.
export async function gap(reader, now) {
  let first, last;
  for (;;) {
    const { done } = await reader.read();
    if (done) return first === undefined ? undefined : last - first;
    last = now();
    first ??= last;
  }
}

// verdict names what a gap means.
export function verdict(ms) {
  if (ms === undefined) return "failed";
  return ms >= 500 ? "live" : "held";
}
