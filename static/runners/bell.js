// A notification of the browser once the build has ended: only after a click on the bell, and only then is leave asked for.

import { text } from "../ci_portal/texts.js";
import { toast } from "../ci_portal/toast.js";

const bell = document.getElementById("bell");
let wanted = false;

/** Show the bell, where the browser has notifications at all. */
export function offerBell() {
  if (!bell || !("Notification" in window) || !window.isSecureContext) return;
  bell.hidden = false;
  bell.addEventListener("click", async () => {
    if (!wanted && (await Notification.requestPermission()) !== "granted") {
      return void toast(text("bell_refused"), { bad: true, id: "bell" });
    }
    wanted = !wanted;
    bell.setAttribute("aria-pressed", String(wanted));
    toast(text(wanted ? "bell_on" : "bell_off"), { id: "bell" });
  });
}

/** It has ended: tell whoever asked for it, once. */
export function ring(title, body) {
  if (bell) bell.hidden = true;
  if (!wanted) return;
  wanted = false;
  const icon = document.querySelector('link[rel="icon"]')?.href;
  const notification = new Notification(title, { body, icon, tag: location.pathname });
  notification.addEventListener("click", () => {
    window.focus();
    notification.close();
  });
}
