// The grid of thumbnails: rows of equal height, more as one scrolls, arrow keys, choosing several. Knows no queries.

import * as api from "./api.js";

const WIDEST = 2.6; // ratio of sides beyond which a thumbnail is cropped
const NARROWEST = 0.55;

export const percent = (chance) => (chance < 0.005 ? "< 1 %" : `${Math.round(chance * 100)} %`);

export class Grid {
  // more() is called when the end comes into sight; open(id) when a picture is chosen.
  constructor(list, end, { more, open }) {
    Object.assign(this, { list, open });
    this.pictures = [];
    this.chosen = new Set(); // ids
    this.picked = () => {};
    new IntersectionObserver(([entry]) => entry.isIntersecting && more(), { rootMargin: "1200px" }).observe(end);
    this.sentinel = end;
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const id = Number(button.dataset.id);
      if (button.className === "pick" || event.ctrlKey || event.metaKey || event.shiftKey) this.pick(id, event.shiftKey);
      else open(id);
    });
    list.addEventListener("keydown", (event) => this.onKey(event));
    list.addEventListener("focusin", (event) => this.rove(event.target.closest(".open")));
    list.addEventListener("error", (event) => lost(event.target), true);
  }

  show(pictures, { append }) {
    const tiles = pictures.map((picture) => this.tile(picture));
    if (append) {
      this.pictures.push(...pictures);
      this.list.append(...tiles);
    } else {
      this.pictures = [...pictures];
      this.list.replaceChildren(...tiles);
      this.rove(this.list.querySelector(".open"));
      this.unpickAll();
    }
  }

  // A line across the grid, after what it shows now.
  divide(text) {
    const line = document.createElement("li");
    line.className = "divide";
    line.append(span(text));
    this.list.append(line);
  }

  // ---- choosing

  pick(id, isRange) {
    const place = this.pictures.findIndex((picture) => picture.id === id);
    const last = this.pictures.findIndex((picture) => picture.id === this.last);
    if (isRange && last >= 0) {
      const [from, to] = [Math.min(place, last), Math.max(place, last)];
      for (const picture of this.pictures.slice(from, to + 1)) this.chosen.add(picture.id);
    } else if (!this.chosen.delete(id)) {
      this.chosen.add(id);
    }
    this.last = id;
    this.showPicked();
  }

  pickAll() {
    for (const { id } of this.pictures) this.chosen.add(id);
    this.showPicked();
  }

  unpickAll() {
    this.chosen.clear();
    this.last = null;
    this.showPicked();
  }

  showPicked() {
    for (const box of this.list.querySelectorAll(".pick")) {
      const isPicked = this.chosen.has(Number(box.dataset.id));
      box.setAttribute("aria-checked", String(isPicked));
      box.parentElement.classList.toggle("picked", isPicked);
    }
    this.picked();
  }

  tile(picture) {
    const item = document.createElement("li");
    item.className = "tile";
    const ratio = Math.min(WIDEST, Math.max(NARROWEST, picture.width / picture.height || 1));
    item.style.setProperty("--ratio", ratio);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "open";
    button.tabIndex = -1;
    button.dataset.id = picture.id;
    const photo = document.createElement("img");
    photo.loading = "lazy";
    photo.decoding = "async";
    const tags = [...new Set([...picture.own, ...picture.tags])];
    photo.alt = tags.length ? `${picture.name}: ${tags.join(", ")}` : picture.name;
    photo.srcset = `${api.thumbnail(picture, 360)} 1x, ${api.thumbnail(picture, 720)} 2x`;
    photo.src = api.thumbnail(picture, 360);
    const caption = document.createElement("span");
    caption.className = "caption";
    caption.ariaHidden = "true";
    caption.append(span(picture.name));
    const chances = picture.asked.map(({ probability }) => probability).filter((chance) => chance !== null);
    if (chances.length) caption.append(span(chances.slice(0, 4).map(percent).join(" · ")));
    button.append(photo, caption);
    if (picture.match !== null) {
      const match = span(percent(picture.match));
      match.className = "match";
      button.append(match);
    }
    const pick = document.createElement("button");
    pick.type = "button";
    pick.className = "pick";
    pick.tabIndex = -1;
    pick.dataset.id = picture.id;
    pick.role = "checkbox";
    pick.ariaLabel = `Select ${picture.name}`;
    pick.setAttribute("aria-checked", "false");
    pick.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6 12.5 4 4L18 8"/></svg>';
    item.append(button, pick);
    return item;
  }

  // One stop for the Tab key; arrow keys move within.
  rove(button) {
    if (!button) return;
    this.list.querySelector('.open[tabindex="0"]')?.setAttribute("tabindex", "-1");
    button.tabIndex = 0;
  }

  onKey(event) {
    const buttons = [...this.list.querySelectorAll(".open")];
    const here = buttons.indexOf(document.activeElement);
    if (here < 0) return;
    if (event.key === "x" || (event.key === "Escape" && this.chosen.size)) {
      event.preventDefault();
      if (event.key === "x") this.pick(Number(buttons[here].dataset.id), false);
      else this.unpickAll();
      return;
    }
    const there = {
      ArrowRight: () => here + 1,
      ArrowLeft: () => here - 1,
      ArrowDown: () => nearest(buttons, here, 1),
      ArrowUp: () => nearest(buttons, here, -1),
      Home: () => 0,
      End: () => buttons.length - 1,
    }[event.key]?.();
    if (there === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    buttons[Math.min(buttons.length - 1, Math.max(0, there))].focus();
  }

  focus(id) {
    const button = this.list.querySelector(`.open[data-id="${id}"]`);
    button?.focus();
    button?.scrollIntoView({ block: "nearest" });
  }

  neighbour(id, step) {
    const place = this.pictures.findIndex((picture) => picture.id === id);
    return place < 0 ? undefined : this.pictures[place + step];
  }
}

// The picture above or below: in the next row, with its middle nearest to this one's.
function nearest(buttons, here, direction) {
  const middle = (box) => box.left + box.width / 2;
  const own = buttons[here].getBoundingClientRect();
  let best = here;
  let row = null;
  for (let place = here + direction; place >= 0 && place < buttons.length; place += direction) {
    const box = buttons[place].getBoundingClientRect();
    if (Math.abs(box.top - own.top) < 2) continue;
    row ??= box.top;
    if (Math.abs(box.top - row) > 2) break;
    const off = Math.abs(middle(box) - middle(own));
    if (best === here || off < Math.abs(middle(buttons[best].getBoundingClientRect()) - middle(own))) best = place;
  }
  return best;
}

function lost(photo) {
  if (photo.tagName !== "IMG" || photo.classList.contains("broken")) return;
  photo.classList.add("broken");
  const note = document.createElement("span");
  note.className = "lost";
  note.append("The file has moved or changed; index again.");
  photo.after(note);
}

function span(text) {
  const element = document.createElement("span");
  element.append(text);
  return element;
}
