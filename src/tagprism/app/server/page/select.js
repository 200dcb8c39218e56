// Several pictures chosen in the grid, and what is done with them: tag, write, export. Knows no queries.

import * as api from "./api.js";
import { button, element } from "./elements.js";
import { Suggest } from "./suggest.js";

const $ = (id) => document.getElementById(id);
const MOST = 2000; // pictures of one request
const many = (count) => `${count.toLocaleString("en")} picture${count === 1 ? "" : "s"}`;

export class Selection {
  // asked() is what the pictures were found by: {query, like}.
  constructor(grid, { asked }) {
    Object.assign(this, { grid, asked });
    grid.picked = () => this.show();
    $("bar-all").addEventListener("click", () => grid.pickAll());
    $("bar-clear").addEventListener("click", () => grid.unpickAll());
    $("bar-write").addEventListener("click", () => this.write());
    $("bar-export").addEventListener("change", (event) => {
      const { value } = event.target;
      event.target.value = "";
      if (value) this.export(value);
    });
    $("bar-tag").addEventListener("submit", (event) => {
      event.preventDefault();
      this.tag($("bar-label").value);
    });
    this.suggest = new Suggest($("bar-label"), $("bar-options"), { chosen: (label) => this.tag(label) });
  }

  ids() {
    return [...this.grid.chosen].slice(0, MOST);
  }

  show() {
    const count = this.grid.chosen.size;
    $("bar").hidden = !count;
    document.body.classList.toggle("choosing", count > 0);
    $("bar-count").textContent = `${count.toLocaleString("en")} selected`;
    if (count > MOST) this.say(`At most ${MOST.toLocaleString("en")} at once: the first of them are used.`);
    else this.say("");
  }

  say(words, undo) {
    $("bar-said").replaceChildren(words);
    if (undo) $("bar-said").append(" ", button("Undo", () => this.attempt(undo)));
  }

  async tag(label) {
    if (!label.trim()) return;
    const ids = this.ids();
    await this.attempt(async () => {
      const { pictures } = await api.markAll(ids, label.trim(), true);
      $("bar-label").value = "";
      this.suggest.close();
      this.say(`${label.trim()}: added to ${many(pictures)}.`, async () => {
        await api.markAll(ids, label.trim(), null);
        this.say(`${label.trim()}: taken back.`);
      });
    });
  }

  async write() {
    await this.attempt(async () => {
      const { written, left, run } = await api.writeAll(this.ids());
      const words = written ? `Keywords of ${many(written)} written.` : "There is nothing to write: add a tag first.";
      this.say([words, ...left].join(" "), run && (() => this.undo(run)));
    });
  }

  async undo(run) {
    const undone = await api.undo(run);
    this.say(undone.left.length ? undone.left.join(" ") : `${many(undone.files)}: as before.`);
  }

  async export(format) {
    await this.attempt(async () => {
      const { query, like } = this.asked();
      const { blob, name } = await api.exportAll(this.ids(), format, query, like?.id ?? null);
      const link = element("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      this.say(`${name} is saved.`);
    });
  }

  async attempt(work) {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      this.say([error.message, error.remedy].filter(Boolean).join(" "));
    }
  }
}
