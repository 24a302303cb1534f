// Questions before something is lost.

import { text } from "./texts.js";

/** Ask; true where the answer is `yes`. `danger`: the button says that something will be gone. */
export function ask({ title, question, yes, danger = true }) {
  const dialog = document.createElement("dialog");
  const [heading, words, form, actions, no, go] = ["h2", "p", "form", "div", "button", "button"].map((tag) => document.createElement(tag));
  heading.id = "dialog_title";
  heading.textContent = title;
  words.textContent = question;
  form.method = "dialog";
  actions.className = "actions";
  no.value = "no";
  no.textContent = text("keep");
  go.value = "yes";
  go.className = danger ? "danger primary" : "primary";
  go.textContent = yes;
  actions.append(no, go);
  form.append(actions);
  dialog.setAttribute("aria-labelledby", heading.id);
  dialog.append(heading, words, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
