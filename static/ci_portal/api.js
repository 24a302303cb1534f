// Requests to the portal's own API, and its answers.

import { text } from "./texts.js";

/** What the portal refused: `message` for people, `errors` by field, `status` 0 where it could not be reached. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(message(status, body));
    this.status = status;
    this.errors = Array.isArray(body.errors) ? body.errors : [];
    this.body = body;
  }
}

function message(status, body) {
  if (!status) return text("unreachable");
  const said = body.detail || body.title || text("unexpected", { status });
  return status >= 500 && body.request_id ? `${said} ${text("request_id", { id: body.request_id })}` : said;
}

function csrfToken() {
  const cookie = document.cookie.split("; ").find((each) => each.startsWith("csrftoken="));
  return cookie ? decodeURIComponent(cookie.slice("csrftoken=".length)) : "";
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch {
    throw new Problem(0);
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, body);
  return body;
}

/** The JSON at that address. Throws Problem. */
export function get(path) {
  return answer(path, { headers: { Accept: "application/json" } });
}

/** The JSON that the portal answers to this method and body. Throws Problem. */
export function send(method, path, body) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  return answer(path, {
    method,
    headers: { Accept: "application/json", "X-CSRFToken": csrfToken(), ...json },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
}

/** The JSON that the portal answers to this body. Throws Problem. */
export function post(path, body) {
  return send("POST", path, body);
}

/**
 * Load the page at `address` again and put its parts in place of ours; the server draws everything once, in the
 * reader's language, escaped. Returns the new document.
 */
export async function refresh(address, ...selectors) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin", headers: { Accept: "text/html" } });
  } catch {
    throw new Problem(0);
  }
  if (!response.ok) throw new Problem(response.status);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const selector of selectors) {
    const [old, fresh] = [document.querySelector(selector), page.querySelector(selector)];
    if (old && fresh) old.replaceWith(document.adoptNode(fresh));
  }
  return page;
}
