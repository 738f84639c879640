// The chat page's only script. Keeps nothing: no storage, no history. Whatever comes from the server is set as text, never as markup.

const log = document.getElementById("log");
const welcome = document.getElementById("welcome");
const progress = document.getElementById("progress");
const form = document.getElementById("ask");
const question = document.getElementById("question");
const stopButton = document.getElementById("stop");
const stopPanel = document.getElementById("stop-panel");
const csrf = document.body.dataset.csrf;
const ANSWER_WITHIN_MS = 30000;
const LINKING_HELPS = new Set(["not_linked", "link_lost", "link_expired", "grant_expired", "grant_revoked", "not_consented"]);
const KINDS = { refused: "Not answered", fault: "Not answered", lost: "Not sent", not_understood: "", answered: "" };

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text) return question.focus();
  question.value = "";
  ask(text, newId());
});

for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => ask(chip.textContent.trim(), newId()));
}

stopButton.addEventListener("click", () => showStop(stopPanel.hidden));
document.getElementById("stop-no").addEventListener("click", () => showStop(false));
document.getElementById("stop-yes").addEventListener("click", stopSharing);
stopPanel.addEventListener("keydown", (event) => { if (event.key === "Escape") showStop(false); });

async function ask(text, id) {
  welcome.hidden = true;
  say(text);
  await send(text, id);
}

async function send(text, id) {
  const typing = add("t-typing");
  progress.textContent = "Asking your bank…";
  scroll(typing);
  const reply = await post("/chat/ask", { message_id: id, text });
  typing.remove();
  progress.textContent = "";
  show(reply, text, id);
}

async function post(path, body) {
  try {
    const response = await fetch(path, {
      method: "POST",
      mode: "same-origin",
      credentials: "same-origin",
      cache: "no-store",
      headers: { "content-type": "application/json", "x-parley-csrf": csrf },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
    return await response.json();
  } catch {
    return { outcome: "lost", code: "offline", text: "I can’t reach your bank’s server. Your question is still here." };
  }
}

function say(text) {
  const turn = add("t-mine");
  turn.querySelector(".text").textContent = text;
}

function show(reply, text, id) {
  const turn = add("t-reply");
  turn.classList.add(reply.outcome);
  turn.querySelector(".text span:last-child").textContent = (reply.lines?.length && reply.heading) || reply.text;
  label(turn, KINDS[reply.outcome] ?? "");
  lines(turn, reply.lines ?? []);
  if (reply.outcome === "refused" || reply.outcome === "fault") {
    turn.querySelector(".code").hidden = false;
    turn.querySelector(".code code").textContent = reply.code;
  }
  actions(turn, reply, text, id);
  if (reply.code === "stopped") showUnlinked();
  if (reply.why) turn.querySelector(".bubble").append(why(reply.why));
  if (reply.notice) turn.querySelector(".bubble").append(notice(reply.notice));
  scroll(turn);
}

function label(turn, words) {
  turn.querySelector(".kind").hidden = !words;
  turn.querySelector(".kind span").textContent = words;
}

function lines(turn, rows) {
  const list = turn.querySelector(".lines");
  list.hidden = rows.length === 0;
  for (const row of rows) {
    const pair = document.createElement("div");
    pair.append(element("dt", row.label), element("dd", row.value));
    list.append(pair);
  }
}

function actions(turn, reply, text, id) {
  const row = turn.querySelector(".actions");
  if (reply.outcome === "lost") {
    row.append(button("Try again", () => again(turn, text, id)));
  } else if (reply.outcome === "fault" || reply.code === "replayed_message") {
    row.append(button("Ask again", () => again(turn, text, newId())));
  } else if (reply.code === "session_unknown" || reply.code === "forged_message") {
    row.append(button("Reload the page", () => location.reload()));
  } else if (reply.outcome === "refused" && LINKING_HELPS.has(reply.code)) {
    const link = document.getElementById("t-link").content.cloneNode(true);
    link.querySelector("[name=wish]").value = reply.wish ?? "";
    row.append(link);
  }
  for (const suggestion of reply.suggestions ?? []) {
    row.append(button(suggestion, () => ask(suggestion, newId()), "chip"));
  }
  row.hidden = row.childElementCount === 0;
}

function again(turn, text, id) {
  turn.remove();
  question.focus();
  send(text, id);
}

function why(reasons) {
  const details = document.getElementById("t-why").content.cloneNode(true).firstElementChild;
  const set = (name, words) => { details.querySelector(name).textContent = words; };
  const file = `parley-receipt-${reasons.log_index}.txt`;
  set(".purpose", reasons.purpose);
  set(".left", reasons.what_left);
  set(".stayed", reasons.what_stayed);
  set(".whom", `${reasons.platform}, over ${reasons.channel}`);
  set(".recorded", `entry ${reasons.log_index} of the log, ${moment(reasons.recorded_at)}`);
  set(".policy", reasons.policy.slice(0, 12));
  set(".verify", `parley verify ${file}`);
  const download = details.querySelector(".download");
  download.href = reasons.receipt_url ?? `data:text/plain;charset=utf-8,${encodeURIComponent(reasons.receipt ?? "")}`;
  download.download = file;
  download.hidden = !reasons.receipt_url && !reasons.receipt;
  return details;
}

function notice({ text, label, url }) {
  const line = element("p", `${text} `);
  const link = element("a", label);
  link.href = url;
  line.className = "notice";
  line.append(link);
  return line;
}

function moment(iso) {
  const when = new Date(iso);
  return Number.isNaN(when.valueOf()) ? "" : `${when.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

function showStop(open) {
  stopPanel.hidden = !open;
  stopButton.setAttribute("aria-expanded", String(open));
  (open ? document.getElementById("stop-yes") : stopButton).focus();
}

// Also after a typed "stop".
function showUnlinked() {
  document.getElementById("linked").hidden = true;
  document.getElementById("unlinked").hidden = false;
}

async function stopSharing() {
  const reply = await post("/chat/stop", {});
  stopPanel.hidden = true;
  stopButton.setAttribute("aria-expanded", "false");
  if (reply.outcome === "lost") {
    reply.text = "I can’t reach your bank’s server, so sharing has not been stopped yet. Please try again.";
  }
  welcome.hidden = true;
  show({ ...reply, outcome: reply.outcome === "lost" ? "fault" : reply.outcome }, "stop", newId());
  question.focus();
}

function add(template) {
  const turn = document.getElementById(template).content.cloneNode(true).firstElementChild;
  log.append(turn);
  return turn;
}

function button(words, work, kind = "") {
  const made = element("button", words);
  made.type = "button";
  made.className = kind;
  made.addEventListener("click", work);
  return made;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// The newest turn is brought into sight between the bars, which lie over the page; a long answer is shown from its beginning.
function scroll(turn) {
  const [above, below] = [".bar", ".composer"].map((bar) => document.querySelector(bar).offsetHeight + 12);
  const room = innerHeight - above - below;
  document.documentElement.style.scrollPaddingTop = `${above}px`;
  document.documentElement.style.scrollPaddingBottom = `${below}px`;
  turn.scrollIntoView({ block: turn.offsetHeight > room ? "start" : "end" });
}

function newId() {
  return crypto.randomUUID ? crypto.randomUUID() : Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
