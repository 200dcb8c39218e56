// One picture in a dialog: its tags, where they come from, and what the person says of them. Knows no queries.

import * as api from "./api.js";
import { button, element } from "./elements.js";
import { percent } from "./grid.js";
import { drawMap, scaleOf, vectorBars } from "./heat.js";
import { size, smallTile } from "./small.js";
import { Suggest } from "./suggest.js";

const $ = (id) => document.getElementById(id);
const LIKELY = 0.1; // tags of a lower probability are folded away,
const AT_LEAST = 5; // but the first few
const ICONS = { yes: "m5 12.5 4.5 4.5L19 7.5", no: "m7 7 10 10M17 7 7 17" };

export class Viewer {
  // like(picture) finds pictures like it, tag(label) those that a person tagged so, step(id, by) is the next one in the grid, closed(id) comes after closing.
  constructor({ like, tag, step, moved, closed }) {
    Object.assign(this, { step, moved, tagged: tag });
    this.dialog = $("viewer");
    $("close").addEventListener("click", () => this.dialog.close());
    $("less").addEventListener("click", () => this.unfold(!this.unfolded));
    this.dialog.addEventListener("close", () => {
      this.request?.abort();
      if (this.address) URL.revokeObjectURL(this.address);
      this.address = null;
      const { id } = this.picture ?? {};
      this.picture = null;
      closed(id);
    });
    this.dialog.addEventListener("keydown", (event) => this.onKey(event));
    $("before").addEventListener("click", () => this.go(-1));
    $("after").addEventListener("click", () => this.go(1));
    $("like").addEventListener("click", () => {
      const picture = this.picture;
      this.dialog.close();
      like(picture);
    });
    $("keywords").addEventListener("click", () => this.writeKeywords());
    $("add").addEventListener("submit", (event) => {
      event.preventDefault();
      this.add($("new-tag").value);
    });
    this.suggest = new Suggest($("new-tag"), $("new-options"), { chosen: (label) => this.add(label) });
  }

  async open(id) {
    const signal = this.start();
    await this.attempt(async () => {
      const details = await api.image(id, signal);
      this.picture = details;
      this.show(details, api.thumbnail(details, 1600));
      const day = details.taken ? new Date(details.taken).toLocaleDateString("en-GB", { dateStyle: "long" }) : null;
      const stars = details.rating > 0 ? "★".repeat(details.rating) : null;
      const facts = [`${details.width} × ${details.height}`, size(details.size), day, details.camera, stars];
      $("meta").textContent = `${facts.filter(Boolean).join(" · ")} · `;
      $("meta").title = details.taken_from ? `${details.path}\nWhen it was taken: ${details.taken_from}` : details.path;
      $("original").href = `api/images/${id}/original`;
      this.showOwn(details.own);
      this.showMarks();
      await this.explain(signal);
    });
  }

  // What people tagged in the file, apart from the model's tags.
  showOwn(words) {
    $("own").hidden = !words.length;
    const chips = words.map((word) => {
      const item = element("li");
      item.append(button(word, () => (this.dialog.close(), this.tagged(word))));
      item.firstChild.title = "Find all that are tagged so";
      return item;
    });
    $("own-list").replaceChildren(...chips);
  }

  async upload(file) {
    const signal = this.start();
    this.address = URL.createObjectURL(file);
    this.picture = null;
    this.show({ name: file.name, width: 3, height: 2, tags: [] }, this.address);
    $("meta").textContent = "Looking at it …";
    await this.attempt(async () => {
      const answer = await api.tag(file, signal);
      this.fit(answer.width, answer.height, 1);
      if (answer.preview) $("photo").src = answer.preview;
      $("meta").textContent = answer.known ? "One of your pictures: " : "Not one of your pictures, and not kept.";
      if (answer.known) $("meta").append(button(answer.known.name, () => this.go(0, answer.known.id)));
      this.showOwn(answer.known?.own ?? []);
      this.showTags(answer.tags, { fixed: true });
      this.explained(answer.explanation);
      $("similar").hidden = !answer.similar.length;
      $("similar-list").replaceChildren(...answer.similar.map((picture) => smallTile(picture, (id) => this.go(0, id))));
    });
    if (!$("viewer-problem").hidden) $("meta").textContent = "";
  }

  start() {
    this.request?.abort();
    this.request = new AbortController();
    this.why = null;
    this.pinned = null;
    this.unfolded = false;
    this.hideMap();
    $("why").replaceChildren();
    $("said").replaceChildren();
    $("similar").hidden = true;
    $("own").hidden = true;
    $("viewer-problem").hidden = true;
    return this.request.signal;
  }

  show(picture, address) {
    const isOwn = "id" in picture;
    $("viewer-name").textContent = picture.name;
    $("photo").src = address;
    $("photo").alt = picture.name;
    $("photo").hidden = false;
    this.fit(picture.width, picture.height);
    for (const id of ["add", "actions", "original"]) $(id).hidden = !isOwn;
    $("before").disabled = !isOwn || !this.step(picture.id, -1);
    $("after").disabled = !isOwn || !this.step(picture.id, 1);
    $("tags").replaceChildren();
    $("less").hidden = true;
    if (!this.dialog.open) this.dialog.showModal();
    $("viewer-name").focus();
  }

  fit(width, height, enlarged = 3) {
    Object.assign(this, { width, height });
    $("frame").style.setProperty("--ratio", width / height);
    $("frame").style.setProperty("--most", enlarged === 1 ? "100%" : `${width * enlarged}px`);
  }

  go(by, id = this.picture && this.step(this.picture.id, by)?.id) {
    if (!id) return;
    this.moved(id);
    this.open(id);
  }

  onKey(event) {
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    this.go(by);
  }

  // ---- tags

  showMarks() {
    const { tags } = this.picture;
    this.showTags(tags, { fixed: false });
    const marked = tags.filter((tag) => tag.mark !== null).length;
    $("keywords").disabled = !marked;
    $("keywords").title = marked ? "Into a sidecar file beside the photo" : "Keep or reject a tag first";
  }

  showTags(tags, { fixed }) {
    const list = $("tags");
    const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    list.replaceChildren(...tags.map((tag) => this.tagRow(tag, fixed)));
    tags.forEach((tag, place) => {
      const isLikely = tag.mark !== null || (tag.probability ?? 1) >= LIKELY || place < AT_LEAST;
      list.children[place].classList.toggle("unlikely", !isLikely);
    });
    this.unfold(this.unfolded);
    if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  unfold(unfolded) {
    this.unfolded = unfolded;
    const unlikely = [...$("tags").querySelectorAll(".unlikely")];
    for (const row of unlikely) row.hidden = !unfolded;
    $("less").hidden = !unlikely.length;
    $("less").ariaExpanded = String(unfolded);
    $("less").textContent = unfolded ? "Only the likely ones" : `${unlikely.length} less likely`;
  }

  tagRow(tag, fixed) {
    const row = element("li", `tag${tag.mark === false ? " rejected" : ""}`);
    const show = button("", () => this.pin(tag.label), "show");
    show.dataset.key = `show ${tag.label}`;
    show.ariaPressed = "false";
    if (tag.also?.length) show.title = `Also: ${tag.also.join(", ")}`;
    const said = tag.mark === null ? null : tag.mark ? "yours" : "no";
    const chance = said ?? (tag.probability === null ? tag.score.toFixed(1) : percent(tag.probability));
    const bar = element("span", "bar");
    bar.append(element("i"));
    bar.firstChild.style.width = `${100 * (tag.probability ?? 0)}%`;
    show.append(element("span", "", tag.label), element("span", "chance", chance), bar);
    row.append(show);
    if (!fixed) row.append(this.markButton(tag, true), this.markButton(tag, false));
    row.dataset.label = tag.label;
    row.addEventListener("pointerenter", () => this.showMap(tag.label));
    row.addEventListener("focusin", () => this.showMap(tag.label));
    row.addEventListener("pointerleave", () => this.showMap(this.pinned));
    row.addEventListener("focusout", () => this.showMap(this.pinned));
    return row;
  }

  markButton(tag, said) {
    const made = button("", () => this.mark(tag.label, tag.mark === said ? null : said), `icon ${said ? "yes" : "no"}`);
    made.ariaLabel = `${said ? "Keep" : "Reject"} ${tag.label}`;
    made.title = said ? "This is right: keep it" : "This is wrong: reject it";
    made.ariaPressed = String(tag.mark === said);
    made.dataset.key = `${said} ${tag.label}`;
    made.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${said ? ICONS.yes : ICONS.no}"/></svg>`;
    return made;
  }

  async mark(label, said) {
    await this.attempt(async () => {
      this.picture = await api.mark(this.picture.id, label, said);
      this.showMarks();
      $("said").textContent = said === null ? `${label}: as the model says` : said ? `${label}: kept` : `${label}: rejected`;
      if (this.why && !this.why.has(label)) await this.explain(this.request.signal);
    });
  }

  async add(label) {
    if (!label.trim()) return;
    await this.mark(label.trim(), true);
    $("new-tag").value = "";
    this.suggest.close();
  }

  async writeKeywords() {
    await this.attempt(async () => {
      const { id } = this.picture;
      const answer = await api.writeKeywords(id);
      const words = answer.keywords.join(", ") || "none";
      $("said").textContent = answer.changed ? `Written into ${answer.sidecar}: ${words}. ` : `${answer.sidecar} has them already.`;
      if (!answer.run) return;
      const undo = async () => {
        const undone = await api.undo(answer.run);
        $("said").textContent = undone.left.length ? undone.left.join(" ") : `${answer.sidecar} is as it was.`;
      };
      $("said").append(button("Undo", () => this.attempt(undo)));
    });
  }

  // ---- where a tag comes from

  async explain(signal) {
    if (!this.picture.explains) {
      $("why").textContent = "This model cannot say where a tag comes from.";
      return;
    }
    const labels = this.picture.tags.filter((tag) => tag.score !== null).map((tag) => tag.label);
    if (labels.length) this.explained(await api.explain(this.picture.id, labels, signal));
  }

  explained(answer) {
    this.why = new Map(answer?.tags.map((tag) => [tag.label, tag]) ?? []);
    this.frameOfPlaces = answer?.frame;
    this.scale = answer ? scaleOf(answer.tags) : 1;
    this.showMap(document.activeElement?.closest(".tag")?.dataset.label ?? this.pinned);
  }

  pin(label) {
    this.pinned = this.pinned === label ? null : label;
    for (const row of $("tags").children) {
      row.classList.toggle("shown", row.dataset.label === this.pinned);
      row.firstChild.ariaPressed = String(row.dataset.label === this.pinned);
    }
    this.showMap(this.pinned ?? label);
  }

  showMap(label) {
    const why = label && this.why?.get(label);
    if (!why) {
      this.hideMap();
      if (this.why?.size) $("why").textContent = "Point at a tag to see where it comes from. Orange speaks for it, blue against it.";
      return;
    }
    drawMap($("heat"), { ...why, frame: this.frameOfPlaces, scale: this.scale, width: this.width, height: this.height });
    $("heat").classList.add("on");
    const line = element("p");
    const name = element("span");
    name.append(element("strong", "", label), `: vector ${why.vector + 1} of ${why.vectors.length} fired`);
    line.append(name, element("span", "", why.score.toFixed(2)));
    const whole = 2 * why.without_place > why.score; // what the classifier adds has no place
    const note = whole ? [element("p", "", "Mostly from the picture as a whole, so the map shows little.")] : [];
    $("why").replaceChildren(line, ...note, vectorBars(why));
  }

  hideMap() {
    $("heat").classList.remove("on");
  }

  async attempt(work) {
    try {
      $("viewer-problem").hidden = true;
      await work();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof api.ApiError)) throw error;
      const text = [error.message, error.remedy].filter(Boolean).map((sentence) => element("p", "", sentence));
      $("viewer-problem").replaceChildren(...text);
      $("viewer-problem").hidden = false;
      if (!this.dialog.open) this.dialog.showModal();
    }
  }
}
