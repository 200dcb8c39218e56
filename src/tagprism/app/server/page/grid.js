// The grid of thumbnails: rows of equal height, more as one scrolls, arrow keys. Knows no queries.

import * as api from "./api.js";

const WIDEST = 2.6; // ratio of sides beyond which a thumbnail is cropped
const NARROWEST = 0.55;

export const percent = (chance) => (chance < 0.005 ? "< 1 %" : `${Math.round(chance * 100)} %`);

export class Grid {
  // more() is called when the end comes into sight; open(id) when a picture is chosen.
  constructor(list, end, { more, open }) {
    Object.assign(this, { list, open });
    this.pictures = [];
    new IntersectionObserver(([entry]) => entry.isIntersecting && more(), { rootMargin: "1200px" }).observe(end);
    this.sentinel = end;
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) open(Number(button.dataset.id));
    });
    list.addEventListener("keydown", (event) => this.onKey(event));
    list.addEventListener("focusin", (event) => this.rove(event.target.closest("button")));
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
      this.rove(this.list.querySelector("button"));
    }
  }

  tile(picture) {
    const item = document.createElement("li");
    item.className = "tile";
    const ratio = Math.min(WIDEST, Math.max(NARROWEST, picture.width / picture.height || 1));
    item.style.setProperty("--ratio", ratio);
    const button = document.createElement("button");
    button.type = "button";
    button.tabIndex = -1;
    button.dataset.id = picture.id;
    const photo = document.createElement("img");
    photo.loading = "lazy";
    photo.decoding = "async";
    photo.alt = picture.tags.length ? `${picture.name}: ${picture.tags.join(", ")}` : picture.name;
    photo.srcset = `${api.thumbnail(picture, 360)} 1x, ${api.thumbnail(picture, 720)} 2x`;
    photo.src = api.thumbnail(picture, 360);
    const caption = document.createElement("span");
    caption.className = "caption";
    caption.ariaHidden = "true";
    caption.append(span(picture.name));
    const chances = picture.asked.map(({ probability }) => probability).filter((chance) => chance !== null);
    if (chances.length) caption.append(span(chances.slice(0, 4).map(percent).join(" · ")));
    button.append(photo, caption);
    item.append(button);
    return item;
  }

  // One stop for the Tab key; arrow keys move within.
  rove(button) {
    if (!button) return;
    this.list.querySelector('button[tabindex="0"]')?.setAttribute("tabindex", "-1");
    button.tabIndex = 0;
  }

  onKey(event) {
    const buttons = [...this.list.querySelectorAll("button")];
    const here = buttons.indexOf(document.activeElement);
    if (here < 0) return;
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
    const button = this.list.querySelector(`button[data-id="${id}"]`);
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
