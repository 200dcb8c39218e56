// Likely pictures, then a line; what is behind it waits until it is asked for, unless nothing is before it.

export class Line {
  // opened() comes after the line was opened, when more pictures may be loaded.
  constructor(grid, button, { opened }) {
    Object.assign(this, { grid, button, state: "none", rest: [] });
    button.addEventListener("click", () => {
      this.state = "open";
      button.hidden = true;
      const [first] = this.rest;
      grid.divide("Less likely: something that was asked for is unlikely here");
      grid.show(this.rest, { append: true });
      this.rest = [];
      grid.focus(first.id);
      opened(this.waits);
    });
  }

  get noneIsLikely() {
    return this.state === "first";
  }

  // Shows pictures in the grid; whether more of them, if there are any, may be loaded now.
  show(hits, { append, more }) {
    if (!append) Object.assign(this, { rest: [], state: "none" });
    const place = this.state === "none" ? hits.findIndex((hit) => hit.likely === false) : -1;
    let loads = more;
    if (place === 0 && !append) {
      this.state = "first";
      this.grid.show([], { append });
      this.grid.divide("None is likely. Nearest first:");
      this.grid.show(hits, { append: true });
    } else {
      this.grid.show(place < 0 ? hits : hits.slice(0, place), { append });
    }
    if (place > 0 || (place === 0 && append)) {
      Object.assign(this, { state: "closed", rest: hits.slice(place), waits: more });
      loads = false;
    }
    this.button.hidden = this.state !== "closed";
    return loads;
  }
}
