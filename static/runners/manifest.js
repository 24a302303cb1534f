// The manifest, fetched when somebody opens it.

import { offerCopies } from "../ci_portal/portal.js";
import { text } from "../ci_portal/texts.js";

/** Fill in the manifest once it is opened. */
export function offerManifest() {
  const place = document.getElementById("manifest");
  place?.addEventListener("toggle", async () => {
    if (!place.open || place.dataset.loaded) return;
    const shown = place.querySelector("pre");
    try {
      const response = await fetch(place.dataset.url, { credentials: "same-origin" });
      if (!response.ok) throw new TypeError(String(response.status));
      const manifest = await response.text();
      shown.textContent = manifest;
      place.querySelector("button.copy").dataset.copy = manifest;
      place.dataset.loaded = "yes";
      offerCopies(place);
    } catch (problem) {
      if (!(problem instanceof TypeError)) throw problem;
      shown.textContent = text("unreachable");
    }
  });
}
