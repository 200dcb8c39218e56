// Completion from the vocabulary in a text field (the ARIA pattern of a combobox with a list). Knows no queries.

import * as api from "./api.js";

const PATIENCE = 60; // milliseconds after a key

export class Suggest {
  // chosen(label) is called for a suggestion; typing(answer) whenever suggestions have come.
  constructor(input, list, { chosen, typing = () => {}, of = (text) => text }) {
    Object.assign(this, { input, list, chosen, typing, of });
    this.active = -1;
    this.labels = [];
    input.addEventListener("input", () => this.ask());
    input.addEventListener("keydown", (event) => this.onKey(event));
    input.addEventListener("blur", () => this.close());
    list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
    list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item) this.take([...list.children].indexOf(item));
    });
  }

  ask() {
    clearTimeout(this.timer);
    this.request?.abort();
    const text = this.of(this.input.value).trim();
    if (!text) {
      this.close();
      this.typing({ known: false, labels: [] });
      return;
    }
    this.timer = setTimeout(async () => {
      this.request = new AbortController();
      try {
        const answer = await api.labels(text, this.request.signal);
        this.show(answer.labels, text);
        this.typing(answer);
      } catch (error) {
        if (error.name !== "AbortError") this.close(); // the search itself says what is wrong
      }
    }, PATIENCE);
  }

  show(labels, text) {
    this.labels = labels;
    this.active = -1;
    this.list.replaceChildren(...labels.map((one, place) => this.option(one, place, text)));
    this.list.hidden = !labels.length || document.activeElement !== this.input;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    this.input.removeAttribute("aria-activedescendant");
  }

  option({ label, pictures }, place, text) {
    const item = document.createElement("li");
    item.id = `${this.list.id}-${place}`;
    item.role = "option";
    item.ariaSelected = "false";
    const name = document.createElement("span");
    const at = ` ${label.toLowerCase()}`.indexOf(` ${text.toLowerCase()}`);
    if (at < 0) {
      name.append(label);
    } else {
      const hit = document.createElement("mark");
      hit.append(label.slice(at, at + text.length));
      name.append(label.slice(0, at), hit, label.slice(at + text.length));
    }
    item.append(name);
    if (pictures) {
      const count = document.createElement("small");
      count.append(pictures.toLocaleString("en"));
      count.title = "pictures that have it among their best tags";
      item.append(count);
    }
    return item;
  }

  onKey(event) {
    if (this.list.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      const count = this.labels.length + 1; // one more: nothing chosen
      this.activate(((this.active + 1 + step + count) % count) - 1);
    } else if (event.key === "Enter" && this.active >= 0) {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.take(this.active);
    } else if (event.key === "Tab" && !event.shiftKey && this.labels.length && this.active >= 0) {
      event.preventDefault();
      this.take(this.active);
    } else if (event.key === "Escape") {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.close();
    }
  }

  activate(place) {
    this.list.children[this.active]?.setAttribute("aria-selected", "false");
    this.active = place;
    const item = this.list.children[place];
    item?.setAttribute("aria-selected", "true");
    item?.scrollIntoView({ block: "nearest" });
    if (item) this.input.setAttribute("aria-activedescendant", item.id);
    else this.input.removeAttribute("aria-activedescendant");
  }

  take(place) {
    const { label } = this.labels[place];
    this.close();
    this.chosen(label);
  }

  close() {
    clearTimeout(this.timer);
    this.request?.abort();
    this.list.hidden = true;
    this.active = -1;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }
}
