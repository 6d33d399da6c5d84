// What makes the page quick: keys, decisions without a new page, selection, news of new cases.
// Everything here also works without it, by forms and links. Text from the record is only ever moved as nodes that the
// server's own escaping made.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const store = {
  get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
  set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* Storage is off. */ } },
};

// Theme

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  store.set("seawall-theme", root.dataset.theme);
}

// Times

function ago(seconds, exact) {
  if (seconds < 0) return "soon";
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return seconds < 2592000 ? `${Math.floor(seconds / 86400)} d ago` : exact.slice(0, 10);
}

function tick() {
  for (const time of all("time[data-ago]")) {
    const seconds = Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000);
    time.textContent = ago(seconds, time.dateTime);
  }
}

// Rows: where the reader is, and what is selected

const rows = () => all(".queue .row");
const picks = () => all(".queue .row .pick");
const current = () => document.activeElement?.closest(".queue .row");
let place = -1;
let lastPick = null;

function step(by) {
  const list = rows();
  if (!list.length) return;
  const here = list.indexOf(current());
  const next = here >= 0 ? here + by : place >= 0 ? place : 0;
  go(Math.max(0, Math.min(list.length - 1, next)));
}

function go(index) {
  const row = rows()[index];
  if (!row) return;
  place = index;
  $(".open", row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function count() {
  const boxes = picks();
  const picked = boxes.filter((box) => box.checked).length;
  const output = $("#picked");
  if (output) output.textContent = `${picked} selected`;
  const every = $("#all");
  if (every) {
    every.checked = picked > 0 && picked === boxes.length;
    every.indeterminate = picked > 0 && picked < boxes.length;
  }
}

function pick(box, range) {
  const boxes = picks();
  const [from, to] = [boxes.indexOf(lastPick), boxes.indexOf(box)];
  if (range && from >= 0 && to >= 0) {
    for (const other of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) other.checked = box.checked;
  }
  lastPick = box;
  count();
}

// Decisions without a new page: the form is sent, and what comes back takes the content's place.

async function send(form, button) {
  const body = new URLSearchParams(new FormData(form, button));
  const action = button?.getAttribute("formaction") ?? form.getAttribute("action");
  const main = $("#main");
  const list = rows();
  const here = list.indexOf(current() ?? list.find((row) => $(".pick", row)?.checked));
  main.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(action, { method: "POST", body, headers: { accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const content = $("#main", fresh);
    if (!content || !$("#main .queue, #main .case, #main .exceptions", fresh)) {
      location.assign(response.url);
      return;
    }
    show(response.url, fresh, content, here);
  } catch {
    tell("The server cannot be reached. Nothing was changed; try again.");
  } finally {
    main.removeAttribute("aria-busy");
  }
}

// What of the address the content is of. A jump within it, as the skip link's, asks for nothing new.
const address = () => location.pathname + location.search;
let shown = address();

function show(url, fresh, content, here) {
  const moved = new URL(url).pathname !== location.pathname;
  const scroll = scrollY;
  $("#main").replaceChildren(...content.childNodes);
  $(".told")?.replaceChildren(...($(".told", fresh)?.childNodes ?? []));
  document.title = fresh.title;
  if (url !== location.href) history[moved ? "pushState" : "replaceState"](null, "", url);
  shown = address();
  ready();
  scrollTo(0, moved ? 0 : scroll);
  if (here >= 0 && rows().length) go(Math.min(here, rows().length - 1));
  else $("#main").focus({ preventScroll: true });
}

function tell(words) {
  const [toast, line] = [document.createElement("div"), document.createElement("p")];
  toast.className = "toast failed";
  line.textContent = words;
  toast.append(line);
  $(".told")?.replaceChildren(toast);
}

function decide(verdict) {
  const single = $("#decide");
  if (single) {
    $(`[name=verdict][value=${verdict}]`, single).click();
    return;
  }
  const bulk = $("#bulk");
  const row = current();
  if (!bulk) return;
  if (!picks().some((box) => box.checked)) {
    if (!row) return;
    $(".pick", row).checked = true;
    count();
  }
  bulk.requestSubmit($(`[name=verdict][value=${verdict}]`, bulk));
}

// What a link leads to may be folded.

function unfold() {
  const goal = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!goal) return;
  for (let fold = goal.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  goal.scrollIntoView();
}

// Keys

const keys = {
  j: () => ($(".case") ? $("#older")?.click() : step(1)),
  k: () => ($(".case") ? $("#newer")?.click() : step(-1)),
  o: () => $(".open", current() ?? undefined)?.click(),
  r: () => decide("right"),
  w: () => decide("wrong"),
  u: () => $("[data-undo]")?.click(),
  n: () => ($("#note") ?? $("#bulk [name=note]"))?.focus(),
  x: () => { const box = current() && $(".pick", current()); if (box) { box.checked = !box.checked; pick(box, false); } },
  g: () => $("#back")?.click(),
  "/": () => { const field = $("#q"); if (field) { field.focus(); field.select(); } else location.assign("/review"); },
  "?": () => $("#help").showModal(),
};

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || $("dialog[open]")) return;
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select");
  if (event.key === "Escape") {
    if (typing) typing.blur();
    else { $("#bulk")?.reset(); for (const menu of all(".menu[open]")) menu.open = false; }
    return;
  }
  const does = !typing && Object.hasOwn(keys, event.key) && keys[event.key];
  if (!does) return;
  event.preventDefault();
  does();
}

// New cases: how many is said beside the tabs; the list itself stays as it is until the reader asks.

let news = null;

function listen() {
  news?.close();
  news = null;
  const address = $("[data-live]")?.dataset.live;
  // A browser has few connections to a server at once: pages that nobody looks at need none.
  if (!address || document.hidden) return;
  news = new EventSource(address);
  news.addEventListener("new", (event) => {
    const number = Number(event.data);
    const pill = $("#new");
    if (!pill || !(number > 0)) return;
    $("#new-count").textContent = String(number);
    pill.hidden = false;
    document.title = `(${number}) ${document.title.replace(/^\(\d+\) /, "")}`;
  });
}

// What has to be done for every content that comes

function ready() {
  const onward = $("#onward");
  if (onward) onward.checked = store.get("seawall-onward") === "yes";
  count();
  tick();
  listen();
}

document.addEventListener("keydown", key);
document.addEventListener("focusin", () => { const row = current(); if (row) place = rows().indexOf(row); });
document.addEventListener("click", (event) => {
  const box = event.target.closest(".row .pick");
  if (box) pick(box, event.shiftKey);
  if (event.target.closest("#theme")) switchTheme();
  if (event.target.closest("#keys")) $("#help").showModal();
  const filters = event.target.closest("#filters");
  if (filters) filters.setAttribute("aria-expanded", String(filters.closest("form").classList.toggle("shown")));
  for (const menu of all(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("change", (event) => {
  if (event.target.id === "all") { for (const box of picks()) box.checked = event.target.checked; count(); }
  if (event.target.id === "onward") store.set("seawall-onward", event.target.checked ? "yes" : "no");
  if (event.target.matches(".filter select")) event.target.form.requestSubmit();
});
document.addEventListener("reset", () => setTimeout(count));
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches(".filter")) {
    // Fields that ask nothing stay out of the address.
    for (const field of form.elements) field.disabled ||= field.name && !field.value;
  } else if (form.matches("[data-swap]")) {
    event.preventDefault();
    send(form, event.submitter);
  }
});
addEventListener("pageshow", () => { for (const field of all(".filter [name]")) field.disabled = false; count(); });
addEventListener("popstate", () => { if (address() !== shown) location.reload(); });
addEventListener("hashchange", unfold);
addEventListener("pagehide", () => news?.close());
document.addEventListener("visibilitychange", listen);
setInterval(tick, 30000);
ready();
