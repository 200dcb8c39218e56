// Requests to the server: JSON in, JSON out, errors with a sentence. Knows nothing of the page.

export class ApiError extends Error {
  constructor(status, error) {
    super(error.what);
    this.status = status;
    this.remedy = error.remedy;
    this.where = error.where;
    this.column = error.column;
  }
}

const GONE = { what: "The server does not answer.", remedy: "Is `tagprism serve` still running?" };
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// While the server starts (503) or has too much to do (429) it says when to ask again. A path begins with no slash: a
// proxy may have put the page below another one.
export async function ask(path, { signal, method = "GET", body, onWaiting, read = (response) => response.json() } = {}) {
  for (let attempt = 0; ; attempt += 1) {
    let response;
    try {
      const headers = typeof body === "string" ? { "content-type": "application/json" } : {};
      response = await fetch(path, { signal, method, body, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, GONE);
    }
    if (response.ok) return read(response);
    const starting = response.status === 503 && response.headers.has("retry-after");
    if (starting || (response.status === 429 && attempt < 5)) {
      if (starting) onWaiting?.();
      await pause(Number(response.headers.get("retry-after")) || 1);
      signal?.throwIfAborted();
      continue;
    }
    if (response.status === 401) location.assign("login");
    const answer = await response.json().catch(() => ({ error: { what: `The server says ${response.status}.` } }));
    throw new ApiError(response.status, answer.error);
  }
}

export const search = (parameters, options) => ask(`api/search?${new URLSearchParams(parameters)}`, options);
export const labels = (prefix, signal) => ask(`api/labels?${new URLSearchParams({ prefix })}`, { signal });
export const image = (id, signal) => ask(`api/images/${id}`, { signal });
export const explain = (id, names, signal) =>
  ask(`api/images/${id}/explain?${new URLSearchParams(names.map((name) => ["label", name]))}`, { signal });
export const mark = (id, label, said) =>
  ask(`api/images/${id}/marks`, { method: "PUT", body: JSON.stringify({ label, mark: said }) });
export const writeKeywords = (id) => ask(`api/images/${id}/keywords`, { method: "POST" });
export const undo = (run) => ask(`api/keywords/${run}/undo`, { method: "POST" });

const selection = (what, method, body, read) =>
  ask(`/api/selection/${what}`, { method, body: JSON.stringify(body), read });
export const markAll = (ids, label, said) => selection("marks", "PUT", { ids, label, mark: said });
export const writeAll = (ids) => selection("keywords", "POST", { ids });
export const exportAll = (ids, format, query, like) =>
  selection("export", "POST", { ids, format, query, like }, async (response) => ({
    blob: await response.blob(),
    name: response.headers.get("content-disposition").match(/filename="(.*)"/)[1],
  }));

const SHOWN = /\.(jpe?g|png|gif|webp|avif|bmp)$/i; // what browsers show themselves

export function tag(file, signal) {
  const body = new FormData();
  body.set("file", file);
  body.set("top_k", "12");
  body.set("similar", "9");
  body.set("explain", "true");
  if (!SHOWN.test(file.name)) body.set("preview", "true");
  return ask("api/tag", { method: "POST", body, signal });
}

export const thumbnail = (picture, size) => `api/images/${picture.id}/thumbnail?size=${size}&version=${picture.digest}`;
