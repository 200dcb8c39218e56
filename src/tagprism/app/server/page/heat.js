// Draws where a tag comes from: a map over the photo, and a bar for each principal vector. Knows no server.

const FOR = [255, 140, 26];
const AGAINST = [46, 110, 220];
const STRONGEST = 0.72; // opacity

// All tags of a picture have one scale, so that a pale map is a weak tag.
export const scaleOf = (tags) => Math.max(1e-6, ...tags.flatMap((tag) => tag.places.flat().map(Math.abs)));

export function drawMap(canvas, { places, frame, scale, width, height }) {
  const size = Math.min(1, 1000 / Math.max(width, height));
  canvas.width = Math.round(width * size);
  canvas.height = Math.round(height * size);
  const rows = places.length;
  const columns = places[0].length;
  const small = new ImageData(columns, rows);
  places.flat().forEach((value, place) => {
    const colour = value >= 0 ? FOR : AGAINST;
    small.data.set([...colour, Math.round(255 * STRONGEST * Math.min(1, Math.abs(value) / scale))], place * 4);
  });
  const grid = document.createElement("canvas");
  grid.width = columns;
  grid.height = rows;
  grid.getContext("2d").putImageData(small, 0, 0);
  const [left, top, right, bottom] = frame;
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(
    grid, left * canvas.width, top * canvas.height, (right - left) * canvas.width, (bottom - top) * canvas.height,
  );
}

const SVG = "http://www.w3.org/2000/svg";

export function vectorBars({ vectors, vector }) {
  const top = Math.max(0, ...vectors);
  const bottom = Math.min(0, ...vectors);
  const tall = top - bottom || 1;
  const chart = document.createElementNS(SVG, "svg");
  chart.setAttribute("viewBox", `0 0 ${vectors.length * 20} 40`);
  chart.setAttribute("preserveAspectRatio", "none");
  chart.setAttribute("aria-hidden", "true");
  const zero = (top / tall) * 40;
  const line = document.createElementNS(SVG, "line");
  line.setAttribute("class", "zero");
  set(line, { x1: 0, x2: vectors.length * 20, y1: zero, y2: zero });
  chart.append(line);
  vectors.forEach((score, place) => {
    const bar = document.createElementNS(SVG, "rect");
    const length = (Math.abs(score) / tall) * 40;
    set(bar, { x: place * 20 + 2, width: 16, y: score >= 0 ? zero - length : zero, height: Math.max(1, length), rx: 1.5 });
    if (place === vector) bar.setAttribute("class", "won");
    chart.append(bar);
  });
  return chart;
}

function set(element, values) {
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
}
