// What is asked as chips: press one to turn it into its opposite, or remove it. Knows neither grid nor address bar.

import * as api from "./api.js";
import { button, element } from "./elements.js";
import { pieces, toggled, without } from "./query.js";

// find({query}) or find({like}) asks anew; removed() comes after a chip was taken away.
export function showChips(list, { query, like }, { find, removed }) {
  const cross = (name, asked) => {
    const made = button("", () => (find(asked()), removed()), "x");
    made.ariaLabel = `Remove ${name}`;
    made.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="m6 6 12 12M18 6 6 18"/></svg>';
    return made;
  };

  const chip = (term, place) => {
    const item = element("li", `chip${term.not ? " not" : ""}`);
    const toggle = button("", () => {
      find({ query: toggled(query, place) });
      list.querySelectorAll("li")[place + (like ? 1 : 0)]?.querySelector("button")?.focus();
    });
    toggle.ariaLabel = term.not ? `not ${term.text}: ask for it instead` : `${term.text}: exclude it instead`;
    toggle.title = term.not ? "Press to ask for it" : "Press to exclude it";
    if (term.not) toggle.append(element("b", "", "not"), " ");
    toggle.append(term.text);
    item.append(toggle, cross(term.text, () => ({ query: without(query, place) })));
    return item;
  };

  const likeChip = (picture) => {
    const item = element("li", "chip like");
    const photo = element("img");
    photo.alt = "";
    photo.src = api.thumbnail(picture, 360);
    item.append(photo, element("span", "", `like ${picture.name}`), cross(picture.name, () => ({ like: null })));
    return item;
  };

  const chips = pieces(query).map((piece, place) => (piece.sign ? element("li", "sign", piece.sign) : chip(piece, place)));
  if (like) chips.unshift(likeChip(like));
  list.replaceChildren(...chips);
}
