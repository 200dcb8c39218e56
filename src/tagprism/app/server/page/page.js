// The page: what is asked, the address bar, and who does what. The parts know nothing of each other.

import * as api from "./api.js";
import { showChips } from "./chips.js";
import { takeFiles } from "./drop.js";
import { button, element } from "./elements.js";
import { Grid } from "./grid.js";
import { Line } from "./line.js";
import { added, isQuery, pieces, tagged, without } from "./query.js";
import { Selection } from "./select.js";
import { Suggest } from "./suggest.js";
import { Viewer } from "./viewer.js";

const PAGE = 60; // pictures at once
const $ = (id) => document.getElementById(id);
const entry = $("entry");
const text = $("text");

const state = { query: "", like: null, hits: 0, more: false, shown: null, request: null };

const grid = new Grid($("grid"), $("end"), { more: () => loadMore(), open: (id) => openPicture(id) });
const line = new Line(grid, $("less-likely"), {
  opened: (more) => {
    state.more = more;
    continueToScroll();
  },
});
new Selection(grid, { asked: () => state.shownFor ?? state });
const viewer = new Viewer({
  tag: (label) => find({ query: tagged(label), like: null }),
  like: (picture) => find({ query: "", like: picture }),
  step: (id, by) => grid.neighbour(id, by),
  moved: (id) => history.replaceState(null, "", address({ photo: id })),
  closed: (id) => {
    if (new URLSearchParams(location.search).has("photo")) history.replaceState(null, "", address());
    grid.focus(id);
  },
});
const suggest = new Suggest(entry, $("options"), {
  chosen: (label) => take(label),
  typing: (answer) => preview(answer),
  of: (typed) => typed.replace(/^(-|not\s+)/i, ""),
});

// ---- asking

// What is asked now, and as a step back in the browser's history.
function find({ query = state.query, like = state.like, push = true }) {
  const changed = query !== state.query || like?.id !== state.like?.id;
  Object.assign(state, { query, like });
  text.value = query;
  showAsked();
  if (push && changed) history.pushState(null, "", address());
  document.title = like ? `like ${like.name} – tagprism` : query ? `${query} – tagprism` : "tagprism";
  return load({ query, like });
}

async function load({ query, like }) {
  const key = JSON.stringify([query, like?.id]);
  if (key === state.shown && $("problem").hidden) return;
  state.request?.abort();
  state.request = new AbortController();
  state.shown = key; // or soon
  const { signal } = state.request;
  $("grid").ariaBusy = "true";
  const onWaiting = () => say("Loading the index and the model …");
  try {
    const answer = await api.search(parameters({ query, like }, 0), { signal, onWaiting });
    state.shownFor = { query, like };
    show(answer, { append: false });
  } catch (error) {
    fail(error, query);
  } finally {
    if (!signal.aborted) $("grid").ariaBusy = "false";
  }
}

async function loadMore() {
  if (!state.more || state.loading) return;
  state.loading = true;
  const { signal } = state.request;
  try {
    const answer = await api.search(parameters(state.shownFor, state.hits), { signal });
    show(answer, { append: true });
  } catch (error) {
    state.more = false;
    fail(error, state.query);
  } finally {
    state.loading = false;
  }
  continueToScroll();
}

function continueToScroll() {
  const { top } = $("end").getBoundingClientRect();
  if (state.more && top < innerHeight + 600) loadMore();
}

function parameters({ query, like }, offset) {
  const asked = { limit: PAGE, offset };
  if (query) asked.query = query;
  if (like) asked.like = like.id;
  return asked;
}

// ---- showing

function show(answer, { append }) {
  $("problem").hidden = true;
  text.removeAttribute("aria-invalid");
  if (!append) showRemarks(answer.remarks);
  state.hits = (append ? state.hits : 0) + PAGE;
  state.more = line.show(answer.hits, { append, more: answer.more });
  if (append) return;
  scrollTo({ top: 0 });
  const { query, like } = state.shownFor;
  $("often").hidden = Boolean(query || like || !answer.pictures);
  const all = `${answer.pictures.toLocaleString("en")} picture${answer.pictures === 1 ? "" : "s"}`;
  if (!query && !like) say(answer.not_read ? `${all}. ${answer.not_read}` : all);
  else if (!answer.hits.length) say("nothing found");
  else say(line.noneIsLikely ? "none is likely; nearest first" : `best first, of ${all}`);
  showEmpty(answer);
  if (!$("often").hidden && !$("often-list").children.length) showOften();
}

function showRemarks(remarks) {
  $("remarks").hidden = !remarks.length;
  $("remarks").replaceChildren(...remarks.map((sentence) => element("li", "", sentence)));
}

function showEmpty({ pictures, hits }) {
  $("empty").hidden = hits.length > 0;
  if (hits.length) return;
  const title = element("h2", "", pictures ? "No picture fits" : "There are no pictures yet");
  const hint = element("p", "", pictures ? "Take a part of the query away, or " : "Index a folder, and they appear here: ");
  if (pictures) hint.append(button("look at all pictures.", () => find({ query: "", like: null })));
  else hint.append(element("code", "", "tagprism index PHOTOS --into DIR"));
  $("empty").replaceChildren(title, hint);
}

async function showOften() {
  try {
    const { labels } = await api.labels("");
    $("often-list").replaceChildren(
      ...labels.map(({ label }) => {
        const item = element("li");
        item.append(button(label, () => take(label)));
        return item;
      }),
    );
    if (!labels.length) $("often").hidden = true;
  } catch {
    $("often").hidden = true; // a mere suggestion
  }
}

function fail(error, query) {
  if (error.name === "AbortError") return;
  if (!(error instanceof api.ApiError)) throw error;
  state.shown = null;
  const problem = $("problem");
  problem.replaceChildren(element("p", "", error.message));
  if (error.column && query) {
    const place = error.column - 1;
    const shown = element("code", "", query.slice(0, place));
    shown.append(element("mark", "", query.slice(place, place + 1) || " "), query.slice(place + 1));
    problem.append(shown);
  }
  if (error.remedy) problem.append(element("p", "", error.remedy));
  if (error.status === 0) problem.append(button("Try again", () => load(state)));
  problem.hidden = false;
  if (error.status === 422) text.ariaInvalid = "true";
  say("");
}

function showAsked() {
  const { query, like } = state;
  showChips($("chips"), state, { find, removed: () => entry.focus() });
  $("clear").hidden = !query && !like && !entry.value;
  entry.placeholder = query || like ? "" : "Find pictures: beach, night sky, red car";
}

const say = (words) => ($("count").textContent = words);

// ---- typing

function take(typed) {
  const negated = /^(-|not\s)/i.test(entry.value) && !/^(-|not\s)/i.test(typed);
  entry.value = "";
  suggest.close();
  return find({ query: added(state.query, negated ? `-${typed}` : typed) });
}

// While a tag is being typed the grid shows what it gives, or its likeliest completion while a word of it is unknown.
function preview({ known, labels }) {
  $("clear").hidden = !state.query && !state.like && !entry.value;
  if (isQuery(entry.value)) return;
  const negated = /^(-|not\s)/i.test(entry.value) ? "-" : "";
  const likely = known ? entry.value : labels.length ? negated + labels[0].label : "";
  if (likely || !entry.value.trim()) load({ query: added(state.query, likely), like: state.like });
}

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (entry.value.trim()) take(entry.value);
});
entry.addEventListener("keydown", (event) => {
  if (event.key === "," && entry.value.trim() && !entry.value.includes('"')) {
    event.preventDefault();
    take(entry.value);
  } else if (event.key === "Backspace" && !entry.value) {
    const last = pieces(state.query).length - 1;
    if (last >= 0) find({ query: without(state.query, last) });
    else if (state.like) find({ like: null });
  } else if (event.key === "Escape") {
    entry.value = "";
    load(state);
  } else if (event.key === "ArrowDown" && $("options").hidden) {
    event.preventDefault();
    $("grid").querySelector('.open[tabindex="0"]')?.focus();
  }
});
$("box").addEventListener("pointerdown", (event) => {
  if (event.target !== $("box")) return;
  event.preventDefault();
  entry.focus();
});
$("clear").addEventListener("click", () => {
  entry.value = "";
  find({ query: "", like: null });
  entry.focus();
});
let waiting;
text.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => load({ query: text.value.trim(), like: state.like }), 250);
});
text.addEventListener("change", () => find({ query: text.value.trim() }));
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  clearTimeout(waiting);
  find({ query: text.value.trim() });
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input") || $("viewer").open) return;
  event.preventDefault();
  entry.focus();
});

// ---- one picture, and the address bar

function openPicture(id) {
  history.pushState(null, "", address({ photo: id }));
  viewer.open(id);
}

function address({ photo } = {}) {
  const asked = new URLSearchParams();
  if (state.query) asked.set("q", state.query);
  if (state.like) asked.set("like", state.like.id);
  if (photo) asked.set("photo", photo);
  return asked.size ? `./?${asked}` : "./";
}

async function follow() {
  const asked = new URLSearchParams(location.search);
  const number = Number(asked.get("like"));
  let like = number === state.like?.id ? state.like : null;
  if (number && !like) like = await api.image(number).catch((error) => (fail(error, ""), null));
  const photo = Number(asked.get("photo"));
  if (!photo && $("viewer").open) $("viewer").close();
  const done = find({ query: asked.get("q") ?? "", like, push: false });
  if (photo) {
    await done;
    viewer.open(photo);
  }
}
addEventListener("popstate", follow);

takeFiles((file) => viewer.upload(file));
addEventListener("scroll", () => document.body.classList.toggle("scrolled", scrollY > 4), { passive: true });
follow();
