// A small picture that opens one, and the size of a file in words. Knows nothing of the viewer.

import * as api from "./api.js";
import { button, element } from "./elements.js";

export function smallTile(picture, open) {
  const item = element("li");
  const tile = button("", () => open(picture.id));
  const photo = element("img");
  photo.src = api.thumbnail(picture, 360);
  photo.alt = picture.name;
  tile.append(photo);
  item.append(tile);
  return item;
}

export const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
