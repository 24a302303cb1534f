// What the viewer asks the portal for: the index of an output, some of its lines, a search, the live stream.

import { Problem } from "../ci_portal/api.js";

/** Milliseconds without a byte after which a stream is given up: the portal sends something every 15 s. */
const SILENT = 40_000;

async function answer(url, options) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0);
  }
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

async function* chunks(response, signal, alive = () => {}) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      yield value;
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem(0);
  } finally {
    reader.cancel().catch(() => {});
  }
}

export class Source {
  /** `url` is that of the output as text, such as /job/7/output/. */
  constructor(url) {
    this.url = url;
  }

  /** Everything about the output but its lines. Throws Problem. */
  async index(signal) {
    return (await answer(`${this.url}index/`, { signal })).json();
  }

  /** Up to `count` lines from number `first` on. Throws Problem. */
  async lines(first, count, signal) {
    return (await answer(`${this.url}lines/?first=${first}&count=${count}`, { signal })).json();
  }

  /** Yields what a search tells while it goes on. Throws Problem. */
  async *search(parameters, signal) {
    const response = await answer(`${this.url}search/?${new URLSearchParams(parameters)}`, { signal });
    let rest = "";
    for await (const piece of chunks(response, signal)) {
      const parts = (rest + piece).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part) yield JSON.parse(part);
    }
  }

  /**
   * Yields { type, id, data } of the live stream from byte `offset` on; ends where the portal ends it or has fallen silent.
   * `opened` is called once it is there. Throws Problem.
   */
  async *live(offset, signal, opened) {
    const silence = new AbortController();
    const both = AbortSignal.any([signal, silence.signal]);
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENT);
    };
    alive();
    try {
      const headers = { Accept: "text/event-stream", "Last-Event-ID": String(offset) };
      const response = await answer(this.url, { signal: both, headers });
      opened();
      yield* events(chunks(response, both, alive));
    } catch (error) {
      if (!silence.signal.aborted || signal.aborted) throw error;
      throw new Problem(0);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Server-sent events of a text that comes in pieces (HTML, section 9.2.6), as the portal writes them. */
async function* events(pieces) {
  let rest = "";
  for await (const piece of pieces) {
    const parts = (rest + piece).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const event = {};
      for (const line of part.split("\n")) {
        const [, field, value] = /^(\w+): ?(.*)$/s.exec(line) ?? [];
        if (field) event[field] = value;
      }
      if (event.data !== undefined) yield { type: event.event, id: Number(event.id), data: JSON.parse(event.data) };
    }
  }
}
