// The query as text and as chips. The text is the truth: chips are read from it and change it. Knows no elements.

const TOKEN = /\s+|[()]|"(?:[^"]|"")*"?|(?:taken|path|tag|camera|rating|type|gps):(?:"(?:[^"]|"")*"?|[^\s()"]*)|\d*\.?\d+\s*\*|-(?=\S)|[^\s()"]+/giy;
const OPERATORS = ["AND", "OR", "NOT"];
const BARE = /^[\p{L}\p{N}][\p{L}\p{N}_'-]*(?: [\p{L}\p{N}][\p{L}\p{N}_'-]*)*$/u;

export function quoted(label) {
  const plain = BARE.test(label) && !label.split(" ").some((word) => OPERATORS.includes(word));
  return plain ? label : `"${label.replaceAll('"', '""')}"`;
}

export const tagged = (label) => `tag:${quoted(label).includes(" ") ? `"${label.replaceAll('"', '""')}"` : quoted(label)}`;

// Pieces from left to right: terms {text, source, not, start, end} and signs {sign, start, end}. AND is understood.
export function pieces(query) {
  const found = [];
  let begin = null; // of a NOT or weight that waits for its term
  let not = false;
  let before = null;
  const put = (text, source, start, end) => {
    found.push({ text, source, not, start: begin ?? start, end });
    begin = null;
    not = false;
  };
  TOKEN.lastIndex = 0;
  for (let match; (match = TOKEN.exec(query)); ) {
    const [token] = match;
    const start = match.index;
    const end = TOKEN.lastIndex;
    if (/^\s+$/.test(token)) continue;
    const last = found.at(-1);
    if (token === "NOT" || token === "-") {
      not = !not;
      begin ??= start;
    } else if (/\*$/.test(token)) {
      begin ??= start;
    } else if (token === "AND" || token === "OR" || token === "(" || token === ")") {
      if (token === "(" && not) found.push({ sign: "NOT", start: begin, end: start });
      if (token !== "AND") found.push({ sign: token, start, end });
      begin = null;
      not = false;
    } else if (/^(taken|path|tag|camera|rating|type|gps):/i.test(token)) {
      put(token, token, start, end);
    } else if (token.startsWith('"')) {
      put(token.replace(/^"|"$/g, "").replaceAll('""', '"'), token, start, end);
    } else if (before === "word" && last && begin === null && !last.sign) {
      last.text += ` ${token}`; // words next to each other are one phrase
      last.source = last.text;
      last.end = end;
    } else {
      put(token, token, start, end);
    }
    before = /^[("]|^(AND|OR|NOT|-|\))$|\*$|^(taken|path|tag|camera|rating|type|gps):/i.test(token) ? token : "word";
  }
  return found;
}

const isFlat = (found) => found.every((piece) => !piece.sign);

const joined = (terms) =>
  terms.map((term, place) => (term.not ? `${place ? " " : ""}NOT ` : place ? " AND " : "") + (term.whole ?? term.source)).join("");

// What stands before the term itself, such as `2*`, stays.
const whole = (query, term) => {
  const weight = query.slice(term.start, term.end).match(/\d*\.?\d+\s*\*/);
  return { ...term, whole: (weight?.[0] ?? "") + term.source };
};

export function toggled(query, place) {
  const found = pieces(query);
  if (isFlat(found)) {
    const terms = found.map((term) => whole(query, term));
    terms[place].not = !terms[place].not;
    return joined(terms);
  }
  const term = whole(query, found[place]);
  return `${query.slice(0, term.start)}${term.not ? "" : "NOT "}${term.whole}${query.slice(term.end)}`;
}

export function without(query, place) {
  const found = pieces(query);
  if (isFlat(found)) return joined(found.map((term) => whole(query, term)).filter((_, at) => at !== place));
  const { start, end } = found[place];
  let left = query.slice(0, start).trimEnd();
  let right = query.slice(end).trimStart();
  if (/\b(AND|OR)$/.test(left)) left = left.replace(/\s*\b(AND|OR)$/, "");
  else right = right.replace(/^(AND|OR)\b\s*/, "");
  return `${left} ${right}`.trim();
}

// Adds what was typed: an operator or bracket in it makes it a query of its own.
export function added(query, typed) {
  let text = typed.trim();
  if (!text) return query;
  const negated = /^(-|not\s+)(?=\S)/i.exec(text);
  if (!isQuery(text)) text = (negated ? "NOT " : "") + quoted(text.slice(negated?.[0].length ?? 0).replace(/\s+/g, " "));
  if (!query.trim()) return text;
  const open = /(\b(AND|OR|NOT)|\()$/.test(query.trim());
  return `${query.trim()}${open || text.startsWith("NOT ") ? " " : " AND "}${text}`;
}

export const isQuery = (text) => /(^|[\s(])(AND|OR|NOT)([\s)]|$)|[()"]|\b(taken|path|tag|camera|rating|type|gps):|\d\*/.test(text);
