// One run's output over server-sent events, from an offset to its end, reconnecting for as long as it takes.

/** Milliseconds to wait before asking anew where the browser itself has given up (an error answer). */
const AGAIN = 3000;

/**
 * Follow the output at `url` from byte `start`. Calls `on.text(text)`, `on.state("live" | "reconnecting")` and, once,
 * `on.end(outcome)`. Returns a function that stops it.
 */
export function followOutput(url, start, on) {
  let source = null;
  let timer = 0;
  let offset = start;

  function open() {
    source = new EventSource(`${url}?from=${offset}`);
    source.addEventListener("open", () => on.state("live"));
    source.addEventListener("output", (event) => {
      const at = Number(event.lastEventId);
      if (at <= offset && at > 0) return; // sent again after a reconnection
      if (at > 0) offset = at;
      on.text(JSON.parse(event.data));
    });
    source.addEventListener("end", (event) => {
      source.close();
      on.end(JSON.parse(event.data || "{}"));
    });
    source.addEventListener("error", () => {
      on.state("reconnecting");
      if (source.readyState === EventSource.CLOSED) timer = setTimeout(open, AGAIN);
    });
  }

  open();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}
