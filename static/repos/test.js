// The Test connection button of a registered repository.

import { test } from "./checklist.js";

const button = document.getElementById("test_button");
button.addEventListener("click", () => test(document.getElementById("test_result"), button, { repo: button.dataset.repo }));
