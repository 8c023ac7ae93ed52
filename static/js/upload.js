// Sends one upload to the server.

// Refusal is an upload that did not work; its message is a sentence for the user.
export class Refusal extends Error {}

// uploadPath is where an upload goes, with what goes with it.
export function uploadPath({ name, project, filename, omitted }) {
  const query = new URLSearchParams();
  if (project) query.set("project", project);
  else query.set("name", name);
  query.set("filename", filename);
  for (const line of omitted) query.append("omitted", line);
  return `/upload?${query}`;
}

// upload posts body and answers the place to go to. sent is called with bytes sent
// so far; all: nothing is left to send, the server is reading.
export function upload(path, body, { signal, sent, all }) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Content-Type", body.type || "application/octet-stream");
    request.upload.onprogress = (event) => sent(event.loaded);
    request.upload.onload = all;
    request.onload = () => {
      const place = outcome(request.status, request.responseText);
      if (place instanceof Refusal) failed(place);
      else done(place);
    };
    request.onerror = () => failed(new Refusal("The upload broke off: the connection was lost, or a file changed while it was being read. Try again."));
    request.onabort = () => failed(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    if (signal.aborted) failed(signal.reason);
    else request.send(body);
  });
}

// outcome reads an answer: a place to go to, or a Refusal.
export function outcome(status, text) {
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch {
    // a page of a proxy, or the log-in page
  }
  if (status >= 200 && status < 300 && typeof answer?.location === "string") return answer.location;
  const sentence = answer?.error ?? answer?.detail;
  if (typeof sentence === "string" && sentence) return new Refusal(sentence);
  if (status === 401 || (status >= 200 && status < 300)) return new Refusal("You are not logged in any more. Load the page again, log in and repeat the upload.");
  if (status === 413) return new Refusal("The upload is larger than this server takes. Leave out what can be installed or built again.");
  return new Refusal(`The server did not take the upload (it answered ${status}). Try again.`);
}
