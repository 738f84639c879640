// The customer's page: passkeys, checking receipts, times in the browser's own zone. Keeps nothing; what comes from the server is set as text.

const csrf = document.body.dataset.csrf ?? "";
const trouble = document.getElementById("trouble");

for (const time of document.querySelectorAll("time[datetime]")) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.valueOf())) continue;
  time.textContent = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }).format(moment);
}
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
const zone = document.getElementById("zone");
if (zone) zone.textContent = `your time zone, ${Intl.DateTimeFormat().resolvedOptions().timeZone.replaceAll("_", " ")}`;

if (globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  for (const button of document.querySelectorAll("[data-passkey]")) {
    button.hidden = false;
    button.addEventListener("click", () => ceremony(button));
  }
}

async function ceremony(button) {
  const use = button.dataset.passkey;
  button.disabled = true;
  button.classList.add("busy");
  try {
    const options = await post("/me/passkeys/challenge", { use });
    const answer = use === "add" ? await made(options) : await shown(options);
    const { next } = await post(`/me/passkeys/${use}`, answer);
    location.assign(button.closest("[data-next]") && use === "step-up" ? button.closest("[data-next]").dataset.next : next);
  } catch (problem) {
    say(problem.name === "NotAllowedError" ? "The passkey was not used. You can try again." : problem.message);
    button.disabled = false;
    button.classList.remove("busy");
  }
}

async function made(options) {
  const credential = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  return { credential: credential.toJSON(), name: document.getElementById("passkey-name")?.value ?? "" };
}

async function shown(options) {
  const credential = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  return credential.toJSON();
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    mode: "same-origin",
    credentials: "same-origin",
    cache: "no-store",
    headers: { "content-type": "application/json", "x-parley-csrf": csrf },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(30000),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.text ?? "That didn’t work. Please try again.");
  return answer;
}

function say(words) {
  trouble.hidden = false;
  trouble.textContent = words;
}

const vkey = document.querySelector("[data-vkey]")?.dataset.vkey;
for (const button of document.querySelectorAll(".check")) {
  button.hidden = false;
  button.addEventListener("click", () => check(button.closest("[data-index]")));
}

async function check(row) {
  const verdict = row.querySelector(".verdict");
  verdict.className = "verdict";
  verdict.textContent = "Checking…";
  try {
    const { verifyReceipt } = await import(document.querySelector("link[rel=modulepreload]").href);
    const response = await fetch(`/me/receipts/${row.dataset.index}`, { mode: "same-origin", cache: "no-store" });
    if (!response.ok) throw new Error("The receipt could not be fetched.");
    const found = await verifyReceipt(await response.text(), vkey);
    if (String(found.index) !== row.dataset.index) throw new Error("This is the receipt of another entry.");
    verdict.classList.add("good");
    verdict.textContent = `Holds: entry ${found.index} of ${found.origin}, among ${found.size} under a head that the log signed.`;
  } catch (problem) {
    verdict.classList.add("bad");
    verdict.textContent = problem.name === "NotSupportedError" ? "This browser cannot check Ed25519. Use “parley verify”." : `Does not hold: ${problem.message}`;
  }
}
