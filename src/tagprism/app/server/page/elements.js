// Makes elements of the page. Knows nothing of what they are for.

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function button(text, work, className = "") {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", work);
  return made;
}
