// The Test connection button of a registered repository.

import { busy } from "../ci_portal/busy.js";
import { test } from "./checklist.js";

const button = document.getElementById("test_button");
button?.addEventListener("click", () => busy(button, () => test(document.getElementById("test_result"), { repo: button.dataset.repo })));
